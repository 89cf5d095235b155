import type { Trace } from "./trace.ts";

const FLIGHT = (number: string, price: number): string =>
  JSON.stringify([{ flight_number: number, status: "available", prices: { economy: price, business: price * 5 } }]);
const BOOKED = JSON.stringify({ reservation_id: "NEW001", status: "booked" });
const FULL = "Error: payment amount does not add up, total price is 240, but paid 190";

/** For a clone without the recorded runs: three conversations of our own invention, in which every kind of answer comes up. */
export const SHORT_TRACE: Trace = {
  source: "the project's own short trace (invented)",
  runs: [
    {
      task: "a trip for two",
      trial: "0",
      expected: null,
      calls: [
        { name: "get_user_details", arguments: { user_id: "ada_moor_1001" }, result: '{"name": "Ada Moor", "membership": "regular"}' },
        { name: "list_all_airports", arguments: {}, result: '{"LIS": "Lisbon", "OSL": "Oslo"}' },
        { name: "search_direct_flight", arguments: { origin: "LIS", destination: "OSL", date: "2024-06-01" }, result: FLIGHT("AS101", 95) },
        { name: "calculate", arguments: { expression: "95 + 95 + 50" }, result: "240.0" },
        { name: "book_reservation", arguments: { user_id: "ada_moor_1001", payment_methods: [{ payment_id: "card_1", amount: 190 }] }, result: FULL },
        { name: "think", arguments: { thought: "The bag was forgotten: 240 in all." }, result: "" },
        {
          name: "book_reservation",
          arguments: { user_id: "ada_moor_1001", payment_methods: [{ payment_id: "card_1", amount: 240 }] },
          result: BOOKED,
        },
      ],
    },
    {
      task: "a business trip, again and again",
      trial: "0",
      expected: null,
      calls: [
        { name: "get_user_details", arguments: { user_id: "bo_lind_1002" }, result: '{"name": "Bo Lind", "membership": "gold"}' },
        { name: "search_onestop_flight", arguments: { origin: "OSL", destination: "LIS", date: "2024-06-02" }, result: FLIGHT("AS202", 300) },
        {
          name: "book_reservation",
          arguments: { user_id: "bo_lind_1002", payment_methods: [{ payment_id: "card_2", amount: 1500 }] },
          result: BOOKED,
        },
        { name: "book_reservation", arguments: { user_id: "bo_lind_1002", payment_methods: [{ payment_id: "card_2", amount: 190 }] }, result: FULL },
        { name: "book_reservation", arguments: { user_id: "bo_lind_1002", payment_methods: [{ payment_id: "card_2", amount: 190 }] }, result: FULL },
        { name: "book_reservation", arguments: { user_id: "bo_lind_1002", payment_methods: [{ payment_id: "card_2", amount: 190 }] }, result: FULL },
        { name: "book_reservation", arguments: { user_id: "bo_lind_1002", payment_methods: [{ payment_id: "card_2", amount: 190 }] }, result: FULL },
        { name: "send_certificate", arguments: { user_id: "bo_lind_1002", amount: 150 }, result: "Certificate sent" },
      ],
    },
    {
      task: "two changes too many",
      trial: "0",
      expected: null,
      calls: [
        { name: "get_reservation_details", arguments: { reservation_id: "OLD003" }, result: '{"reservation_id": "OLD003", "cabin": "economy"}' },
        {
          name: "update_reservation_flights",
          arguments: { reservation_id: "OLD003", cabin: "economy", flights: ["AS1", "AS2", "AS3", "AS4"] },
          result: "{}",
        },
        {
          name: "update_reservation_flights",
          arguments: { reservation_id: "OLD003", cabin: "economy", flights: ["AS5", "AS6", "AS7", "AS8"] },
          result: "{}",
        },
        { name: "cancel_reservation", arguments: { reservation_id: "OLD003" }, result: "{}" },
        { name: "transfer_to_human_agents", arguments: { summary: "Wants a refund that I may not give." }, result: "Transfer successful" },
      ],
    },
  ],
};
