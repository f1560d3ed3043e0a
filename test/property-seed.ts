import { configureGlobal } from "fast-check";

/**
 * Properties draw the same values in every run, so that a change and nothing else turns a run red.
 * FAST_CHECK_SEED=n draws others: a search for more, or the repetition of what one found.
 */
configureGlobal({ seed: Number(process.env["FAST_CHECK_SEED"] ?? 20_261_122) });
