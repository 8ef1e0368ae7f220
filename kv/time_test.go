package kv_test

import (
	"testing"
	"time"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// A clock that jumps: what expires is decided by the clock at each request and by nothing
// that was seen before, so a jump back gives an expired token the length of the jump and no
// more; and no time of a token moves back.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, bound := range bounds {
		store := kvtest.New(t, func(o *kv.Options) { o.MaxIndexed = bound })
		expiry := kvtest.Start.Add(time.Hour)
		_, expiring, err := store.Create(ctx, kv.Spec{Name: "expiring", Active: true, ExpiresAt: expiry})
		do(t, err)
		_, old, err := store.Create(ctx, kv.Spec{Name: "rotated", Active: true})
		do(t, err)
		rotated, current, err := store.Rotate(ctx, "rotated", time.Hour)
		do(t, err)
		expect := func(at time.Time, good bool) {
			t.Helper()
			store.Clock.Set(at)
			for name, value := range map[string]kv.Value{"expiring": expiring, "the old value": old} {
				if _, err := store.Verify([]byte(value.Reveal())); (err == nil) != good {
					t.Errorf("room for %d: %s at %v: %v", bound, name, at, err)
				}
			}
			if _, err := store.Verify([]byte(current.Reveal())); err != nil {
				t.Errorf("room for %d: the current value at %v: %v", bound, at, err)
			}
		}
		for _, jump := range []struct {
			to   time.Duration // from the start
			good bool
		}{
			{0, true}, {time.Hour - time.Millisecond, true}, {time.Hour, false}, {1000 * time.Hour, false}, {time.Hour - 1, true},
			{-1000 * time.Hour, true}, {time.Hour, false}, {24 * 365 * 100 * time.Hour, false},
		} {
			expect(kvtest.Start.Add(jump.to), jump.good)
			store.Reopen()
			expect(kvtest.Start.Add(jump.to), jump.good)
		}

		// A change under a clock that is ahead is not undone by one that is right again.
		store.Clock.Set(kvtest.Start.Add(30 * time.Minute))
		ahead, err := store.Update(ctx, "expiring", kv.Patch{Active: new(bool)})
		do(t, err)
		store.Clock.Set(kvtest.Start.Add(-time.Hour))
		yes := true
		back, err := store.Update(ctx, "expiring", kv.Patch{Active: &yes})
		do(t, err)
		if back.UpdatedAt.Before(ahead.UpdatedAt) || back.CreatedAt.After(back.UpdatedAt) || !back.ExpiresAt.Equal(expiry) {
			t.Errorf("room for %d: %+v after %+v", bound, back, ahead)
		}
		again, _, err := store.Rotate(ctx, "rotated", time.Minute)
		do(t, err)
		if again.UpdatedAt.Before(rotated.UpdatedAt) || !again.PreviousValidUntil.Equal(store.Clock.Now().Add(time.Minute)) {
			t.Errorf("room for %d: %+v after %+v", bound, again, rotated)
		}
	}
}
