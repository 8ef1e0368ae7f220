package kv_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// bounds are sizes of the index with which everything must be the same: none at
// all, hardly any, room for all.
var bounds = []int{0, 1, 1 << 20}

func eachBound(t *testing.T, test func(t *testing.T, store *kvtest.Store)) {
	for _, bound := range bounds {
		t.Run(fmt.Sprintf("room for %d", bound), func(t *testing.T) {
			test(t, kvtest.New(t, func(o *kv.Options) { o.MaxIndexed = bound }))
		})
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, store *kvtest.Store) {
		now := store.Clock.Now()
		plain, plainValue := create(t, store, kv.Spec{Name: "plain", Active: true, Write: true})
		_, readerValue := create(t, store, kv.Spec{Name: "reader", Active: true, ExpiresAt: now.Add(time.Hour)})
		longName := strings.Repeat("日", 128)
		_, longValue := create(t, store, kv.Spec{Name: longName, Active: true, ExpiresAt: now.Add(time.Hour)})
		_, inactive := create(t, store, kv.Spec{Name: "inactive", Write: true})
		_, expired := create(t, store, kv.Spec{Name: "expired", Active: true, ExpiresAt: now.Add(time.Millisecond)})
		_, deleted := create(t, store, kv.Spec{Name: "deleted", Active: true})
		_, err := store.Delete(ctx, "deleted")
		do(t, err)
		store.Clock.Advance(time.Millisecond)

		for range 2 { // once from the disk, once from memory, where they can differ
			expectGrant(t, store, plainValue, kv.Grant{Name: "plain", Write: true, ExpirationDate: plain.UpdatedAt, ValueMade: now})
			expectGrant(t, store, readerValue, kv.Grant{Name: "reader", Expires: true, ExpirationDate: now.Add(time.Hour), ValueMade: now})
			expectGrant(t, store, longValue, kv.Grant{Name: longName, Expires: true, ExpirationDate: now.Add(time.Hour), ValueMade: now})
			for name, presented := range map[string]string{
				"inactive":  inactive.Reveal(),
				"expired":   expired.Reveal(),
				"deleted":   deleted.Reveal(),
				"unknown":   kv.NewValue("tkd").Reveal(),
				"cut short": plainValue.Reveal()[:40],
				"longer":    plainValue.Reveal() + "x",
				"empty":     "",
				"malformed": "tkd_ with spaces in it",
				"too long":  strings.Repeat("x", 513),
				"binary":    string([]byte{0, 255, 10, 13}) + plainValue.Reveal(),
			} {
				if grant, err := store.Verify([]byte(presented)); !errors.Is(err, kv.ErrInvalidToken) || grant != (kv.Grant{}) {
					t.Errorf("%s: %v, %v", name, grant, err)
				}
			}
		}
	})
}

// A token is expired from its expiry's millisecond on.
func TestVerify_expiry(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, store *kvtest.Store) {
		expiry := store.Clock.Now().Add(time.Minute)
		_, value := create(t, store, kv.Spec{Name: "x", Active: true, ExpiresAt: expiry})
		for _, c := range []struct {
			at   time.Time
			want error
		}{
			{expiry.Add(-time.Millisecond), nil},
			{expiry.Add(-time.Nanosecond), nil},
			{expiry, kv.ErrInvalidToken},
			{expiry.Add(time.Hour), kv.ErrInvalidToken},
			{expiry.Add(-time.Millisecond), nil}, // a clock that was set back
		} {
			store.Clock.Set(c.at)
			if _, err := store.Verify([]byte(value.Reveal())); !errors.Is(err, c.want) {
				t.Errorf("at %v: %v, want %v", c.at, err, c.want)
			}
		}
	})
}

// The verification after a change sees it, whatever was in memory.
func TestVerify_followsChanges(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, store *kvtest.Store) {
		_, value := create(t, store, kv.Spec{Name: "x", Active: true})
		for i := range 3 {
			want := kv.Spec{Name: "x", Active: true, Write: i%2 == 0}
			_, err := store.Replace(ctx, want)
			do(t, err)
			if grant, err := store.Verify([]byte(value.Reveal())); err != nil || grant.Write != want.Write {
				t.Errorf("%+v: %v, %v", want, grant, err)
			}
			_, err = store.Replace(ctx, kv.Spec{Name: "x"})
			do(t, err)
			expectInvalidToken(t, store, value)
		}
		_, err := store.Delete(ctx, "x")
		do(t, err)
		expectInvalidToken(t, store, value)
	})
}

// Somebody who read a record from the disk before a change, and comes to put it
// into memory after it, must not bring the old state back.
func TestVerify_slowReader(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	for name, change := range map[string]func() error{
		"deleted":     func() error { return second(store.Delete(ctx, "x")) },
		"deactivated": func() error { return second(store.Replace(ctx, kv.Spec{Name: "x"})) },
		"rotated":     func() error { return third(store.Rotate(ctx, "x", 0)) },
		"rotated twice": func() error {
			return errors.Join(third(store.Rotate(ctx, "x", time.Hour)), third(store.Rotate(ctx, "x", time.Hour)))
		},
		"created again": func() error {
			return errors.Join(second(store.Delete(ctx, "x")), third(store.Create(ctx, kv.Spec{Name: "x", Active: true})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _ = store.Delete(ctx, "x")
			_, value := create(t, store, kv.Spec{Name: "x", Active: true})
			store.Forget(value)
			offer := store.SlowReader(value)
			do(t, change())
			offer()
			expectInvalidToken(t, store, value)
		})
	}
}

func TestLastUsed(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, store *kvtest.Store) {
		created, value := create(t, store, kv.Spec{Name: "x", Active: true})
		_, _ = create(t, store, kv.Spec{Name: "never", Active: true})
		presented := []byte(value.Reveal())
		lastUsed := func(want time.Time) {
			t.Helper()
			token := created
			token.LastUsedAt = want
			if got, err := store.Get("x"); err != nil || !cmp.Equal(got, token) {
				t.Errorf("%v %s", err, cmp.Diff(token, got))
			}
			if got := list(t, store)["x"]; !cmp.Equal(got, token) {
				t.Error(cmp.Diff(token, got))
			}
			if never := list(t, store)["never"]; !never.LastUsedAt.IsZero() {
				t.Error("a token that was never used was used", never.LastUsedAt)
			}
		}
		lastUsed(time.Time{})
		store.Clock.Advance(1500 * time.Microsecond)
		_, err := store.Peek(presented)
		do(t, err)
		lastUsed(time.Time{})

		first := store.Clock.Now().Truncate(time.Millisecond)
		_, err = store.Verify(presented)
		do(t, err)
		lastUsed(first)
		store.Clock.Advance(time.Hour)
		lastUsed(first)
		store.Reopen()
		lastUsed(first)
		second := store.Clock.Now().Truncate(time.Millisecond)
		_, err = store.Verify(presented)
		do(t, err)
		lastUsed(second)

		t.Run("a change keeps it", func(t *testing.T) {
			token, err := store.Replace(ctx, kv.Spec{Name: "x", Active: false})
			if err != nil || !token.LastUsedAt.Equal(second) {
				t.Error(token.LastUsedAt, err)
			}
			store.Clock.Advance(time.Hour)
			expectInvalidToken(t, store, value)
			store.Reopen()
			if token, err := store.Get("x"); err != nil || !token.LastUsedAt.Equal(second) {
				t.Error(token.LastUsedAt, err)
			}
		})
		t.Run("it goes with the token", func(t *testing.T) {
			if token, err := store.Delete(ctx, "x"); err != nil || !token.LastUsedAt.Equal(second) {
				t.Error(token.LastUsedAt, err)
			}
			if token, _ := create(t, store, kv.Spec{Name: "x", Active: true}); !token.LastUsedAt.IsZero() {
				t.Error(token.LastUsedAt)
			}
			if token, err := store.Get("x"); err != nil || !token.LastUsedAt.IsZero() {
				t.Error(token.LastUsedAt, err)
			}
			store.Reopen()
			if left := keysOnDisk(t, store, "u/"); len(left) != 0 {
				t.Errorf("the disk still has %q", left)
			}
		})
	})
}

// A use is seen by whoever asks after the verification, whatever goes on beside:
// changes of the same token, evictions, flushes.
func TestLastUsed_seenAtOnce(t *testing.T) {
	t.Parallel()
	for _, bound := range []int{3, 1 << 20} {
		t.Run(fmt.Sprintf("room for %d", bound), func(t *testing.T) {
			store := kvtest.New(t, func(o *kv.Options) { o.MaxIndexed, o.Now = bound, time.Now })
			var values []kv.Value
			for i := range 6 {
				_, value := create(t, store, kv.Spec{Name: fmt.Sprint("token-", i), Active: true})
				values = append(values, value)
			}
			end := time.Now().Add(time.Second)
			var wg sync.WaitGroup
			for i, value := range values {
				name := fmt.Sprint("token-", i)
				wg.Go(func() {
					for time.Now().Before(end) {
						before := time.Now().Truncate(time.Millisecond)
						if _, err := store.Verify([]byte(value.Reveal())); err != nil {
							t.Error(err)
						}
						if token, err := store.Get(name); err != nil || token.LastUsedAt.Before(before) {
							t.Errorf("%s was used at %v, and is said to have been at %v (%v)", name, before, token.LastUsedAt, err)
						}
					}
				})
				wg.Go(func() {
					for time.Now().Before(end) {
						if _, err := store.Replace(ctx, kv.Spec{Name: name, Active: true, Write: true}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// What does not fit is answered from the disk, and what is used finds room.
func TestIndex_bound(t *testing.T) {
	t.Parallel()
	const bound = 2000
	store := kvtest.New(t, func(o *kv.Options) { o.MaxIndexed = bound })
	store.AwaitFilled() // who fills it and who creates may each exceed the bound by one
	values := map[string]kv.Value{}
	for batch := range 3 {
		specs := specs(fmt.Sprint("b", batch), 2000)
		for i := range specs {
			specs[i].Active = true
		}
		all, err := store.CreateAll(ctx, specs)
		do(t, err)
		for _, created := range all {
			values[created.Name] = created.Value
		}
	}
	for round := range 3 {
		store.Clock.Advance(time.Second)
		for name, value := range values {
			if grant, err := store.Verify([]byte(value.Reveal())); err != nil || grant.Name != name {
				t.Fatalf("%s: %+v, %v", name, grant, err)
			}
		}
		if n := store.Indexed(); n > bound {
			t.Errorf("the index holds %d", n)
		}
		for name, token := range list(t, store) {
			if !token.LastUsedAt.Equal(store.Clock.Now()) {
				t.Errorf("round %d: %s was last used at %v", round, name, token.LastUsedAt)
			}
		}
		if round == 1 {
			store.Reopen()
			for name, token := range list(t, store) {
				if !token.LastUsedAt.Equal(store.Clock.Now()) {
					t.Errorf("after reopening, %s was last used at %v", name, token.LastUsedAt)
				}
			}
		}
	}
	t.Run("what is used is held", func(t *testing.T) {
		for _, value := range values {
			_, err := store.Verify([]byte(value.Reveal()))
			do(t, err)
			if !store.Holds(value) {
				t.Fatal("a token that was just used is not in memory")
			}
		}
	})
}

func expectGrant(t *testing.T, store *kvtest.Store, value kv.Value, want kv.Grant) {
	t.Helper()
	for what, verify := range map[string]func([]byte) (kv.Grant, error){"Verify": store.Verify, "Peek": store.Peek} {
		if got, err := verify([]byte(value.Reveal())); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v %s", what, err, cmp.Diff(want, got))
		}
	}
}

func expectInvalidToken(t *testing.T, store *kvtest.Store, value kv.Value) {
	t.Helper()
	if grant, err := store.Verify([]byte(value.Reveal())); !errors.Is(err, kv.ErrInvalidToken) {
		t.Errorf("%+v, %v", grant, err)
	}
}

func create(t *testing.T, store *kvtest.Store, spec kv.Spec) (kv.Token, kv.Value) {
	t.Helper()
	token, value, err := store.Create(ctx, spec)
	do(t, err)
	return token, value
}

func list(t *testing.T, store *kvtest.Store) map[string]kv.Token {
	t.Helper()
	snapshot, err := store.Snapshot()
	do(t, err)
	defer snapshot.Close()
	all := map[string]kv.Token{}
	for token, err := range snapshot.Tokens(kv.Filter{}, "", time.Time{}) {
		do(t, err)
		all[token.Name] = token
	}
	return all
}

func keysOnDisk(t *testing.T, store *kvtest.Store, prefix string) (found []string) {
	t.Helper()
	withDatabase(t, store, func(e *kvtest.Edits) { found = e.Keys(prefix) })
	store.Reopen()
	return found
}

func third[A, B any](_ A, _ B, err error) error { return err }

// A good value is good at any moment after the start, also that in which the index has
// just been filled.
func TestVerify_whileItFills(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	wanted := specs("x", 900)
	for i := range wanted {
		wanted[i].Active = true
	}
	made, err := store.CreateAll(ctx, wanted)
	do(t, err)
	for range 60 {
		store.Reopen()
		var wg sync.WaitGroup
		for part := range 3 {
			wg.Go(func() {
				for i := len(made) - 1 - part; i >= 0; i -= 3 { // the last are filled in last
					if _, err := store.Peek([]byte(made[i].Value.Reveal())); err != nil {
						t.Errorf("%s: %v", made[i].Name, err)
					}
				}
			})
		}
		wg.Wait()
	}
}
