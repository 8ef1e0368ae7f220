package kv_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestRotate(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, store *kvtest.Store) {
		start := store.Clock.Now()
		_, first := create(t, store, kv.Spec{Name: "x", Active: true})
		plain := kv.Grant{Name: "x", ExpirationDate: start, ValueMade: start}
		expectGrant(t, store, first, plain)

		store.Clock.Advance(time.Minute)
		now := store.Clock.Now()
		end := now.Add(time.Hour)
		token, second := rotate(t, store, "x", time.Hour)
		want := kv.Token{
			Spec: kv.Spec{Name: "x", Active: true}, CreatedAt: start, UpdatedAt: now, LastUsedAt: start,
			PreviousValidUntil: end, PreviousLastUsedAt: start,
		}
		if diff := cmp.Diff(want, token); diff != "" {
			t.Error(diff)
		}
		oldGrant := kv.Grant{Name: "x", ExpirationDate: now, ValueMade: start, GraceEnds: end}
		newGrant := kv.Grant{Name: "x", ExpirationDate: now, ValueMade: now}
		for range 2 {
			expectGrant(t, store, first, oldGrant)
			expectGrant(t, store, second, newGrant)
			store.Reopen()
			store.AwaitFilled() // else it is read from the disk
		}
		t.Run("the old value ends with the grace, to the millisecond", func(t *testing.T) {
			store.Clock.Set(end.Add(-time.Millisecond))
			expectGrant(t, store, first, oldGrant)
			store.Clock.Set(end)
			expectInvalidToken(t, store, first)
			expectGrant(t, store, second, newGrant)
		})
		t.Run("who uses which value is told apart", func(t *testing.T) {
			got, err := store.Get("x")
			if err != nil || !got.PreviousLastUsedAt.Equal(end.Add(-time.Millisecond)) || !got.LastUsedAt.Equal(end) {
				t.Error(got, err)
			}
		})
		t.Run("without a grace the old value ends at once", func(t *testing.T) {
			_, third := rotate(t, store, "x", 0)
			expectInvalidToken(t, store, first)
			expectInvalidToken(t, store, second)
			expectGrant(t, store, third, kv.Grant{Name: "x", ExpirationDate: end, ValueMade: end})
			got, err := store.Get("x")
			if err != nil || !got.PreviousValidUntil.IsZero() || !got.LastUsedAt.Equal(end) {
				t.Error(got, err)
			}
		})
		t.Run("a value is not taken for used because one before it was", func(t *testing.T) {
			rotate(t, store, "x", time.Hour)
			if got, err := store.Get("x"); err != nil || !got.PreviousLastUsedAt.Equal(end) { // the third was
				t.Error(got, err)
			}
			for range 2 {
				if got, _ := rotate(t, store, "x", time.Hour); !got.PreviousLastUsedAt.IsZero() || !got.LastUsedAt.Equal(end) {
					t.Error(got)
				}
			}
			rotate(t, store, "x", 0)
		})
		t.Run("when the token was used outlives its values", func(t *testing.T) {
			store.Reopen()
			if got, err := store.Get("x"); err != nil || !got.LastUsedAt.Equal(end) {
				t.Error(got, err)
			}
		})
		t.Run("a value that the store no longer knows leaves nothing on disk", func(t *testing.T) {
			if keys := keysOnDisk(t, store, "h/"); len(keys) != 1 {
				t.Errorf("%d index entries", len(keys))
			}
		})
	})
}

// What ends a grace before its time, for good.
func TestRotate_graceEnds(t *testing.T) {
	t.Parallel()
	active, inactive := true, false
	for _, c := range []struct {
		name string
		spec kv.Spec
		end  func(*kvtest.Store) error // what happens within the grace
		want error                     // of the old value, after a half of the grace
	}{
		{"nothing happens", kv.Spec{}, func(*kvtest.Store) error { return nil }, nil},
		{"a change of rights", kv.Spec{}, func(s *kvtest.Store) error {
			return errors.Join(second(s.Update(ctx, "x", kv.Patch{Write: &active})), second(s.Replace(ctx, kv.Spec{Name: "x", Active: true})))
		}, nil},
		{"a second rotation", kv.Spec{}, func(s *kvtest.Store) error { return third(s.Rotate(ctx, "x", time.Hour)) }, kv.ErrInvalidToken},
		{"turning it off and on again", kv.Spec{}, func(s *kvtest.Store) error {
			return errors.Join(second(s.Update(ctx, "x", kv.Patch{Active: &inactive})), second(s.Update(ctx, "x", kv.Patch{Active: &active})))
		}, kv.ErrInvalidToken},
		{"an expiry that passed and was moved", kv.Spec{}, func(s *kvtest.Store) error {
			soon := s.Clock.Now().Add(time.Second)
			err := second(s.Update(ctx, "x", kv.Patch{ExpiresAt: &soon}))
			s.Clock.Advance(time.Second)
			return errors.Join(err, second(s.Update(ctx, "x", kv.Patch{ExpiresAt: new(time.Time)})))
		}, kv.ErrInvalidToken},
		{"an expiry that came nearer and went away", kv.Spec{}, func(s *kvtest.Store) error {
			soon := s.Clock.Now().Add(time.Minute)
			return errors.Join(second(s.Update(ctx, "x", kv.Patch{ExpiresAt: &soon})), second(s.Update(ctx, "x", kv.Patch{ExpiresAt: new(time.Time)})))
		}, kv.ErrInvalidToken},
		{"deleting it", kv.Spec{}, func(s *kvtest.Store) error { return second(s.Delete(ctx, "x")) }, kv.ErrInvalidToken},
		{"the token's own expiry", kv.Spec{ExpiresAt: kvtest.Start.Add(29 * time.Minute)}, func(*kvtest.Store) error { return nil }, kv.ErrInvalidToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachBound(t, func(t *testing.T, store *kvtest.Store) {
				c.spec.Name, c.spec.Active = "x", true
				_, old := create(t, store, c.spec)
				rotate(t, store, "x", time.Hour)
				_, err := store.Verify([]byte(old.Reveal()))
				do(t, err)
				do(t, c.end(store))
				store.Clock.Advance(30 * time.Minute)
				if _, err := store.Verify([]byte(old.Reveal())); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				store.Reopen()
				store.AwaitFilled()
				if _, err := store.Verify([]byte(old.Reveal())); !errors.Is(err, c.want) {
					t.Errorf("after reopening: %v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestRotate_capped(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	now := store.Clock.Now()
	create(t, store, kv.Spec{Name: "short", Active: true, ExpiresAt: now.Add(time.Minute)})
	if token, _ := rotate(t, store, "short", time.Hour); !token.PreviousValidUntil.Equal(now.Add(time.Minute)) {
		t.Error(token.PreviousValidUntil)
	}
	create(t, store, kv.Spec{Name: "inactive"})
	create(t, store, kv.Spec{Name: "expired", Active: true, ExpiresAt: now.Add(time.Second)})
	store.Clock.Advance(time.Second)
	for _, name := range []string{"inactive", "expired"} {
		if token, _ := rotate(t, store, name, time.Hour); !token.PreviousValidUntil.IsZero() {
			t.Errorf("an %s token has an old value", name)
		}
	}
	for _, grace := range []time.Duration{-1, kv.MaxGrace + 1} {
		_, _, err := store.Rotate(ctx, "short", grace)
		if invalid, ok := errors.AsType[*kv.InvalidError](err); !ok || invalid.Field != "grace_ms" {
			t.Errorf("%v: %v", grace, err)
		}
	}
}

// The old value is never refused within its grace and never accepted after it,
// and the new one never refused, while many verify and somebody rotates.
func TestRotate_concurrently(t *testing.T) {
	t.Parallel()
	for _, bound := range []int{0, 1, 1 << 20} {
		t.Run(fmt.Sprintf("room for %d", bound), func(t *testing.T) {
			store := kvtest.New(t, func(o *kv.Options) { o.MaxIndexed, o.Now = bound, time.Now })
			type pair struct {
				old, current kv.Value
				until        time.Time  // when old ends
				rotation     *time.Time // that made current
			}
			_, value := create(t, store, kv.Spec{Name: "x", Active: true})
			_, _ = create(t, store, kv.Spec{Name: "another, for a place in memory", Active: true})
			const grace = 20 * time.Millisecond
			var now atomic.Pointer[pair]
			var begun atomic.Pointer[time.Time] // the rotation under way, or the last
			begun.Store(&time.Time{})
			now.Store(&pair{current: value, rotation: begun.Load()})
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for seen := now.Load(); ; seen = now.Load() {
						select {
						case <-stop:
							return
						default:
						}
						// What was the old one is rotated away before its grace
						// has ended, but not before the next pair is there.
						before := time.Now()
						_, err := store.Verify([]byte(seen.old.Reveal()))
						after := time.Now()
						if still := now.Load() == seen; err != nil && still && after.Before(seen.until) {
							t.Errorf("the old value was refused %v before its end: %v", seen.until.Sub(after), err)
						}
						if err == nil && !before.Before(seen.until) {
							t.Errorf("the old value was accepted %v after its end", before.Sub(seen.until))
						}
						rotation := begun.Load()
						_, err = store.Verify([]byte(seen.current.Reveal()))
						after = time.Now()
						if still := now.Load() == seen && begun.Load() == rotation; err != nil && still &&
							(rotation == seen.rotation || after.Before(rotation.Add(grace-time.Millisecond))) {
							t.Errorf("the new value was refused: %v", err)
						}
					}
				})
			}
			for range 25 {
				old := now.Load().current
				start := time.Now()
				begun.Store(&start)
				token, value, err := store.Rotate(ctx, "x", grace)
				do(t, err)
				now.Store(&pair{old, value, token.PreviousValidUntil, &start})
				time.Sleep(time.Until(token.PreviousValidUntil) + 5*time.Millisecond)
			}
			close(stop)
			wg.Wait()
		})
	}
}

// A value that was deleted and comes again is another token's: it has no last use
// from before, and gets its own.
func TestLastUsed_valueComesAgain(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, store *kvtest.Store) {
		value, err := kv.ParseValue("a-value-from-elsewhere")
		do(t, err)
		for i := range 3 {
			name := fmt.Sprint("token-", i)
			do(t, second(store.CreateAll(ctx, []kv.NewToken{{Spec: kv.Spec{Name: name, Active: true}, Value: value}})))
			if token, err := store.Get(name); err != nil || !token.LastUsedAt.IsZero() {
				t.Error(token, err)
			}
			if i == 1 {
				store.Reopen()
			}
			store.Clock.Advance(time.Minute)
			do(t, second(store.Verify([]byte(value.Reveal()))))
			for range 2 {
				if token, err := store.Get(name); err != nil || !token.LastUsedAt.Equal(store.Clock.Now()) {
					t.Error(token, err)
				}
				if i > 0 {
					store.Reopen()
				}
			}
			do(t, second(store.Delete(ctx, name)))
		}
	})
}

func rotate(t *testing.T, store *kvtest.Store, name string, grace time.Duration) (kv.Token, kv.Value) {
	t.Helper()
	token, value, err := store.Rotate(ctx, name, grace)
	do(t, err)
	return token, value
}
