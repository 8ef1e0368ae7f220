package kv_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestTokens_filter(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, store *kvtest.Store) {
		now := store.Clock.Now()
		day := func(n int) time.Time { return now.Add(time.Duration(n) * 24 * time.Hour) }
		_, used := create(t, store, kv.Spec{Name: "a", Active: true})
		create(t, store, kv.Spec{Name: "ab", Active: true, ExpiresAt: day(10)})
		create(t, store, kv.Spec{Name: "ab-inactive", ExpiresAt: day(1)})
		create(t, store, kv.Spec{Name: "ab-expired", Active: true, ExpiresAt: day(1)})
		_, old := create(t, store, kv.Spec{Name: "b", Active: true, ExpiresAt: day(100)})
		create(t, store, kv.Spec{Name: "é", Active: true})
		store.Clock.Set(day(2))
		do(t, second(store.Verify([]byte(used.Reveal()))))
		rotate(t, store, "b", time.Hour)
		store.Clock.Advance(time.Minute)
		do(t, second(store.Verify([]byte(old.Reveal()))))
		store.Clock.Set(day(3))

		for _, c := range []struct {
			name   string
			filter kv.Filter
			after  string
			want   []string
		}{
			{"all", kv.Filter{}, "", []string{"a", "ab", "ab-expired", "ab-inactive", "b", "é"}},
			{"a prefix", kv.Filter{Prefix: "ab"}, "", []string{"ab", "ab-expired", "ab-inactive"}},
			{"a prefix that is a part of a character", kv.Filter{Prefix: "\xc3"}, "", []string{"é"}},
			{"a prefix of none", kv.Filter{Prefix: "ac"}, "", nil},
			{"behind a name", kv.Filter{}, "ab", []string{"ab-expired", "ab-inactive", "b", "é"}},
			{"behind a name that is gone", kv.Filter{}, "aa", []string{"ab", "ab-expired", "ab-inactive", "b", "é"}},
			{"behind the last", kv.Filter{}, "é", nil},
			{"a prefix, behind a name of it", kv.Filter{Prefix: "ab"}, "ab-expired", []string{"ab-inactive"}},
			{"a prefix, behind itself", kv.Filter{Prefix: "ab"}, "ab", []string{"ab-expired", "ab-inactive"}},
			{"a prefix, behind a name far before it", kv.Filter{Prefix: "b"}, "a", []string{"b"}},
			{"a prefix, behind a name before it", kv.Filter{Prefix: "ab"}, "a", []string{"ab", "ab-expired", "ab-inactive"}},
			{"a prefix, behind a name after it", kv.Filter{Prefix: "ab"}, "b", nil},
			{"active", kv.Filter{Status: kv.StatusActive}, "", []string{"a", "ab", "b", "é"}},
			{"inactive", kv.Filter{Status: kv.StatusInactive}, "", []string{"ab-inactive"}},
			{"expired", kv.Filter{Status: kv.StatusExpired}, "", []string{"ab-expired"}},
			{"expires before", kv.Filter{ExpiresBefore: day(10).Add(time.Millisecond)}, "", []string{"ab", "ab-expired", "ab-inactive"}},
			{"expires then", kv.Filter{ExpiresBefore: day(10)}, "", []string{"ab-expired", "ab-inactive"}},
			{"unused since", kv.Filter{UnusedSince: day(2)}, "", []string{"ab", "ab-expired", "ab-inactive", "é"}},
			{"unused since, by any of its values", kv.Filter{UnusedSince: day(2).Add(time.Minute)}, "", []string{"a", "ab", "ab-expired", "ab-inactive", "é"}},
			{"several", kv.Filter{Prefix: "a", Status: kv.StatusActive, UnusedSince: day(3), ExpiresBefore: day(11)}, "a", []string{"ab"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				snapshot, err := store.Snapshot()
				do(t, err)
				defer snapshot.Close()
				var got []string
				for token, err := range snapshot.Tokens(c.filter, c.after, store.Clock.Now()) {
					do(t, err)
					got = append(got, token.Name)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	})
}

func TestBulk(t *testing.T) {
	t.Parallel()
	// Of these, "off" is inactive and "b" was never used.
	newStore := func(t *testing.T) (*kvtest.Store, kv.Value) {
		store := kvtest.New(t)
		_, a := create(t, store, kv.Spec{Name: "a", Active: true, Write: true})
		create(t, store, kv.Spec{Name: "b", Active: true})
		create(t, store, kv.Spec{Name: "off"})
		do(t, second(store.Verify([]byte(a.Reveal()))))
		store.Clock.Advance(time.Minute)
		return store, a
	}
	for _, c := range []struct {
		name    string
		bulk    kv.Bulk
		want    kv.BulkResult
		active  []string // afterwards
		touched []string
	}{
		{"deactivate by name", kv.Bulk{Action: kv.Deactivate, Names: []string{"off", "a", "a"}}, kv.BulkResult{Names: []string{"a", "off"}, Changed: 1}, []string{"b"}, []string{"a"}},
		{"activate by name", kv.Bulk{Action: kv.Activate, Names: []string{"off", "a"}}, kv.BulkResult{Names: []string{"a", "off"}, Changed: 1}, []string{"a", "b", "off"}, []string{"off"}},
		{"delete by name", kv.Bulk{Action: kv.Remove, Names: []string{"off", "a"}}, kv.BulkResult{Names: []string{"a", "off"}, Changed: 2}, []string{"b"}, nil},
		{"by filter", kv.Bulk{Action: kv.Deactivate, Filter: kv.Filter{UnusedSince: kvtest.Start}}, kv.BulkResult{Names: []string{"b", "off"}, Changed: 1}, []string{"a"}, []string{"b"}},
		{"a filter that means none", kv.Bulk{Action: kv.Remove, Filter: kv.Filter{Prefix: "x"}}, kv.BulkResult{}, []string{"a", "b"}, nil},
		{"dry", kv.Bulk{Action: kv.Remove, Names: []string{"a"}, DryRun: true}, kv.BulkResult{Names: []string{"a"}}, []string{"a", "b"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, _ := newStore(t)
			got, err := store.Bulk(ctx, c.bulk)
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
			var active, touched []string
			for name, token := range list(t, store) {
				if token.Active {
					active = append(active, name)
				}
				if token.UpdatedAt.Equal(store.Clock.Now()) {
					touched = append(touched, name)
				}
			}
			slices.Sort(active)
			if diff := cmp.Diff(c.active, active); diff != "" {
				t.Error("active: ", diff)
			}
			if diff := cmp.Diff(c.touched, touched); diff != "" {
				t.Error("touched: ", diff)
			}
		})
	}
	t.Run("a missing name changes nothing", func(t *testing.T) {
		store, a := newStore(t)
		_, err := store.Bulk(ctx, kv.Bulk{Action: kv.Remove, Names: []string{"z", "a", "y"}})
		if missing, ok := errors.AsType[*kv.MissingError](err); !ok || err.Error() != `no token has the name "y", "z"` || len(missing.Names) != 2 {
			t.Error(err)
		}
		do(t, second(store.Verify([]byte(a.Reveal()))))
	})
	t.Run("what is turned off is refused at once, and so is its old value", func(t *testing.T) {
		store, a := newStore(t)
		_, b := rotate(t, store, "a", time.Hour)
		do(t, second(store.Bulk(ctx, kv.Bulk{Action: kv.Deactivate, Names: []string{"a"}})))
		do(t, second(store.Bulk(ctx, kv.Bulk{Action: kv.Activate, Names: []string{"a"}})))
		expectInvalidToken(t, store, a)
		do(t, second(store.Verify([]byte(b.Reveal()))))
	})
}

// What ceases to match between the search and the commit is left out.
func TestBulk_rematches(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	create(t, store, kv.Spec{Name: "a"})
	create(t, store, kv.Spec{Name: "b"})
	open := store.Gate()
	active := true
	updated, deleted := make(chan error), make(chan kv.BulkResult)
	go func() { updated <- second(store.Update(ctx, "a", kv.Patch{Active: &active})) }()
	for store.Waiting() < 1 {
		runtime.Gosched()
	}
	go func() {
		done, err := store.Bulk(ctx, kv.Bulk{Action: kv.Remove, Filter: kv.Filter{Status: kv.StatusInactive}})
		if err != nil {
			t.Error(err)
		}
		deleted <- done
	}()
	for store.Waiting() < 2 {
		runtime.Gosched()
	}
	open()
	do(t, <-updated)
	if diff := cmp.Diff(kv.BulkResult{Names: []string{"b"}, Changed: 1}, <-deleted); diff != "" {
		t.Error(diff)
	}
}

// The largest bulk fits one commit, whatever the tokens are like; one token more
// is refused with the number, and changes nothing.
func TestBulk_most(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	value := func(i int) kv.Value {
		v, err := kv.ParseValue(fmt.Sprintf("%0512d", i))
		do(t, err)
		return v
	}
	for first := 0; first < kv.MaxBulk; first += 500 {
		batch := make([]kv.NewToken, 500)
		for i := range batch {
			batch[i].Value = value(first + i)
			batch[i].LastUsedAt = store.Clock.Now()
			batch[i].Spec = kv.Spec{Name: longName(first + i), Active: true, Write: true, ExpiresAt: store.Clock.Now().Add(time.Hour)}
		}
		do(t, second(store.CreateAll(ctx, batch)))
	}
	for _, action := range []kv.Action{kv.Deactivate, kv.Activate} {
		done, err := store.Bulk(ctx, kv.Bulk{Action: action, Filter: kv.Filter{Prefix: longName(0)[:100]}})
		if err != nil || done.Changed != kv.MaxBulk || len(done.Names) != kv.MaxBulk {
			t.Errorf("%s: %v, %d of %d", action, err, done.Changed, len(done.Names))
		}
	}
	for i := range kv.MaxBulk {
		do(t, third(store.Rotate(ctx, longName(i), time.Minute)))
	}
	for _, action := range []kv.Action{kv.Deactivate, kv.Activate} {
		done, err := store.Bulk(ctx, kv.Bulk{Action: action, Filter: kv.Filter{Prefix: longName(0)[:100]}})
		if err != nil || done.Changed != kv.MaxBulk {
			t.Errorf("%s of rotated ones: %v, %d", action, err, done.Changed)
		}
	}
	create(t, store, kv.Spec{Name: "one more"})
	for _, bulk := range []kv.Bulk{
		{Action: kv.Remove, Filter: kv.Filter{UnusedSince: store.Clock.Now().Add(time.Second)}},
		{Action: kv.Remove, Names: make1001()},
	} {
		_, err := store.Bulk(ctx, bulk)
		if tooMany, ok := errors.AsType[*kv.TooManyError](err); !ok || tooMany.Matched != kv.MaxBulk+1 {
			t.Error(err)
		}
	}
	done, err := store.Bulk(ctx, kv.Bulk{Action: kv.Remove, Filter: kv.Filter{ExpiresBefore: store.Clock.Now().Add(2 * time.Hour)}})
	if err != nil || done.Changed != kv.MaxBulk || count(t, store) != 1 {
		t.Error(err, done.Changed, count(t, store))
	}
}

func make1001() (names []string) {
	for i := range kv.MaxBulk + 1 {
		names = append(names, fmt.Sprint(i))
	}
	return names
}
