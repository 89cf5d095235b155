import fc from "fast-check";

// A mutant's failing example need not be made small, and the same seed must kill the same mutants.
fc.configureGlobal({ ...fc.readConfigureGlobal(), endOnFailure: true, seed: Number(process.env.MUTATION_SEED ?? 1) });
