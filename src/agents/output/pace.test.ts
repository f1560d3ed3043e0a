import { expect, test } from "vitest";
import { ManualClock } from "../../core/manual-clock.ts";
import { Pace } from "./pace.ts";

function createPace(): { clock: ManualClock; take: (count: number) => { isOver: boolean } } {
  const clock = new ManualClock();
  const pace = new Pace({ clock, burst: 100, perSecond: 10 });
  const take = (count: number): { isOver: boolean } => {
    const state = { isOver: false };
    void pace.take(count).then(() => (state.isOver = true));
    return state;
  };
  return { clock, take };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what comes at once passes, what comes beyond waits for its time", async () => {
  const { clock, take } = createPace();
  const first = take(100);
  await settle();
  expect(first.isOver).toBe(true);
  const second = take(20);
  clock.advance(1_999);
  await settle();
  expect(second.isOver).toBe(false);
  clock.advance(1);
  await settle();
  expect(second.isOver).toBe(true);
});

test("what was not used comes back, up to the burst", async () => {
  const { clock, take } = createPace();
  take(100);
  clock.advance(3_600_000);
  const all = take(100);
  await settle();
  expect(all.isOver).toBe(true);
  const more = take(1);
  await settle();
  expect(more.isOver).toBe(false);
});
