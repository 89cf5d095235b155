/** A Worker that does nothing but compute: it reads what it is sent, takes as many rounds as its address says, and tells when it was begun. */
export default {
  async fetch(request: Request): Promise<Response> {
    const beganAt = Date.now();
    await request.text();
    return Response.json({ began_at: beganAt, computed: compute(Number(new URL(request.url).searchParams.get("rounds"))) });
  },
};

function compute(rounds: number): number {
  let number = rounds;
  for (let n = 0; n < rounds; n++) number = (Math.imul(number, 1_664_525) + 1_013_904_223) | 0;
  return number;
}
