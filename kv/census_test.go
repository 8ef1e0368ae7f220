package kv_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/internal/testkit"
	"tokend/kv"
	"tokend/kv/kvtest"
)

// The census knows what an opened store has, and follows changes that come while it
// counts.
func TestCensus_open(t *testing.T) {
	t.Parallel()
	s := kvtest.New(t)
	now := s.Clock.Now()
	var tokens []kv.NewToken
	for i := range 900 {
		tokens = append(tokens, kv.NewToken{Spec: kv.Spec{
			Name: fmt.Sprintf("%03d", i), Active: i%3 > 0, ExpiresAt: now.Add(time.Duration(1+i) * time.Minute),
		}})
	}
	_, err := s.CreateAll(ctx, tokens)
	do(t, err)
	s.Reopen()
	var changes sync.WaitGroup
	for i := range 100 {
		changes.Go(func() {
			_, err := s.Delete(ctx, fmt.Sprintf("%03d", i))
			if err != nil {
				t.Error(err)
			}
		})
	}
	changes.Wait()
	s.Clock.Advance(200 * time.Minute) // 100 to 199 have expired, of which 67 were active
	want := kv.Census{Active: 467, Inactive: 266, Expired: 67, Expiring: []int{67, 467}}
	if diff := cmp.Diff(want, census(t, s.Store, 100*time.Minute, 24*time.Hour)); diff != "" {
		t.Error("want (-), got (+):\n", diff)
	}
	s.Reopen()
	if diff := cmp.Diff(want, census(t, s.Store, 100*time.Minute, 24*time.Hour)); diff != "" {
		t.Error("after another start, want (-), got (+):\n", diff)
	}
}

// A record that cannot be read leaves the census unknown, and says so.
func TestCensus_damaged(t *testing.T) {
	t.Parallel()
	var log testkit.Buffer
	s := kvtest.New(t, func(o *kv.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	create(t, s, kv.Spec{Name: "x"})
	s.Garble("x")
	said := func() bool { return strings.Contains(log.String(), "cannot count the tokens") }
	if !testkit.Eventually(said, true) {
		t.Error("it is not said")
	}
	create(t, s, kv.Spec{Name: "y"})
	if c, known := s.Census(); known {
		t.Errorf("%v is known", c)
	}
}

func TestOldValues(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, s *kvtest.Store) {
		const grace = time.Hour
		_, value := create(t, s, kv.Spec{Name: "x", Active: true})
		_, next, err := s.Rotate(ctx, "x", grace)
		do(t, err)
		create(t, s, kv.Spec{Name: "other", Active: true})
		census(t, s.Store) // so that the old values are known

		useOf := func(value kv.Value) { do(t, second(s.Verify([]byte(value.Reveal())))) }
		use := func() { useOf(value) }
		expect := func(name string, want kv.OldValues) {
			t.Helper()
			got := testkit.Eventually(func() kv.OldValues { return counts(s) }, want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: want (-), got (+):\n%s", name, diff)
			}
		}
		expect("not used at all", kv.OldValues{Unused: 1})
		s.Clock.Advance(time.Minute)
		use()
		expect("used a minute after the rotation", kv.OldValues{Used: 1})
		s.Clock.Advance(20 * time.Minute)
		expect("not used for long, nor the new one since", kv.OldValues{Used: 1})
		useOf(next)
		expect("not used for long, but the new one since", kv.OldValues{Unused: 1})
		use()
		s.Clock.Advance(time.Second)
		useOf(next)
		s.Clock.Advance(grace/4 - time.Second)
		expect("used a moment ago, and the new one too", kv.OldValues{Used: 1})
		s.Clock.Advance(time.Millisecond)
		expect("used more than a quarter of the grace ago, and the new one later", kv.OldValues{Unused: 1})
		s.Clock.Set(kvtest.Start.Add(grace*3/4 - time.Millisecond))
		use()
		expect("used shortly before the last quarter", kv.OldValues{Used: 1})
		s.Clock.Advance(time.Millisecond)
		expect("in the last quarter", kv.OldValues{Ending: 1})
		s.Reopen()
		census(t, s.Store)
		expect("after another start", kv.OldValues{Ending: 1})
		s.Clock.Set(kvtest.Start.Add(grace - time.Millisecond))
		expect("in the last millisecond", kv.OldValues{Ending: 1})
		useOf(next)
		expect("in the last millisecond, but the new one is used", kv.OldValues{Ending: 1})
		s.Clock.Advance(time.Millisecond)
		expect("after the grace", kv.OldValues{})
		s.Clock.Advance(-time.Millisecond)
		expect("after the clock was set back", kv.OldValues{Ending: 1})
	})
}

// A value that is used daily is used, also where another program has changed.
func TestOldValues_daily(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{100 * time.Hour, 7 * 24 * time.Hour, kv.MaxGrace} {
		t.Run(grace.String(), func(t *testing.T) { testDailyUse(t, grace) })
	}
}

func testDailyUse(t *testing.T, grace time.Duration) {
	s := kvtest.New(t)
	_, value := create(t, s, kv.Spec{Name: "x", Active: true})
	_, next, err := s.Rotate(ctx, "x", grace)
	do(t, err)
	census(t, s.Store)
	s.Clock.Advance(time.Hour)
	do(t, second(s.Verify([]byte(value.Reveal()))))
	s.Clock.Advance(time.Minute)
	do(t, second(s.Verify([]byte(next.Reveal())))) // another program has changed
	s.Clock.Advance(25*time.Hour - time.Minute)
	if got := testkit.Eventually(func() kv.OldValues { return counts(s) }, kv.OldValues{Used: 1}); got.Used != 1 {
		t.Errorf("after a day: %+v", got)
	}
	s.Clock.Advance(time.Millisecond)
	if got := testkit.Eventually(func() kv.OldValues { return counts(s) }, kv.OldValues{Unused: 1}); got.Unused != 1 {
		t.Errorf("after more: %+v", got)
	}
}

// counts are the numbers of old values.
func counts(s *kvtest.Store) kv.OldValues {
	o, _ := s.OldValues()
	o.InUse = nil
	return o
}

func TestOldValues_changes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*kvtest.Store) error{
		"deleted":       func(s *kvtest.Store) error { return second(s.Delete(ctx, "x")) },
		"deactivated":   func(s *kvtest.Store) error { return second(s.Update(ctx, "x", kv.Patch{Active: new(false)})) },
		"rotated again": func(s *kvtest.Store) error { return third(s.Rotate(ctx, "x", 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := kvtest.New(t)
			create(t, s, kv.Spec{Name: "x", Active: true})
			do(t, third(s.Rotate(ctx, "x", time.Hour)))
			census(t, s.Store)
			numbers := func() kv.OldValues { return counts(s) }
			if got := testkit.Eventually(numbers, kv.OldValues{Unused: 1}); got.Unused != 1 {
				t.Errorf("before: %+v", got)
			}
			do(t, change(s))
			if diff := cmp.Diff(kv.OldValues{}, testkit.Eventually(numbers, kv.OldValues{})); diff != "" {
				t.Errorf("after, want (-), got (+):\n%s", diff)
			}
		})
	}
}

// eventually gives what is found once it is as wanted, or at last.

func TestExpiringNext(t *testing.T) {
	t.Parallel()
	s := kvtest.New(t)
	now, day := s.Clock.Now(), 24*time.Hour
	var tokens []kv.NewToken
	var want []kv.Due
	for i := range 2000 {
		at := now.Add(29*day - time.Duration(i)*time.Millisecond)
		name := fmt.Sprintf("%04d-%s", i, "a name that does not fit into an entry")
		tokens = append(tokens, kv.NewToken{Spec: kv.Spec{Name: name, Active: true, ExpiresAt: at}})
		if i >= 1900 {
			want = append([]kv.Due{{Name: name, At: at}}, want...)
		}
	}
	for _, batch := range [][]kv.NewToken{tokens[:500], tokens[500:1000], tokens[1000:1500], tokens[1500:]} {
		_, err := s.CreateAll(ctx, batch)
		do(t, err)
	}
	create(t, s, kv.Spec{Name: "inactive", ExpiresAt: now.Add(day)})
	create(t, s, kv.Spec{Name: "later", Active: true, ExpiresAt: now.Add(31 * day)})
	create(t, s, kv.Spec{Name: "never", Active: true})
	create(t, s, kv.Spec{Name: "soon over", Active: true, ExpiresAt: now.Add(time.Millisecond)})
	s.Clock.Advance(time.Millisecond)
	do(t, third(s.Rotate(ctx, want[0].Name, time.Hour))) // it has two values now
	if diff := cmp.Diff(want, testkit.Eventually(s.ExpiringNext, want)); diff != "" {
		t.Error("want (-), got (+):\n", diff)
	}
}

// A token that is rotated while it is looked for is named once.
func TestExpiringNext_changing(t *testing.T) {
	t.Parallel()
	s := kvtest.New(t)
	for i := range 50 {
		create(t, s, kv.Spec{Name: fmt.Sprint(i), Active: true, ExpiresAt: s.Clock.Now().Add(time.Hour)})
	}
	var changes sync.WaitGroup
	ended := make(chan struct{})
	for w := range 2 {
		changes.Go(func() {
			for i := w; ; i = (i + 2) % 50 {
				select {
				case <-ended:
					return
				default:
				}
				if err := third(s.Rotate(ctx, fmt.Sprint(i), 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for begin := time.Now(); time.Since(begin) < time.Second; {
		seen := map[string]bool{}
		for _, due := range s.ExpiringNext() {
			if seen[due.Name] {
				t.Errorf("%s is named twice", due.Name)
			}
			seen[due.Name] = true
		}
	}
	close(ended)
	changes.Wait()
}

func TestOldValues_inUse(t *testing.T) {
	t.Parallel()
	s := kvtest.New(t)
	_, used := create(t, s, kv.Spec{Name: "used", Active: true})
	create(t, s, kv.Spec{Name: "unused", Active: true})
	for _, name := range []string{"used", "unused"} {
		do(t, third(s.Rotate(ctx, name, time.Hour)))
	}
	census(t, s.Store)
	s.Clock.Advance(time.Second)
	do(t, second(s.Verify([]byte(used.Reveal()))))
	want := []kv.Due{{Name: "used", At: kvtest.Start.Add(time.Hour)}}
	inUse := func() []kv.Due {
		o, _ := s.OldValues()
		return o.InUse
	}
	if diff := cmp.Diff(want, testkit.Eventually(inUse, want)); diff != "" {
		t.Error("want (-), got (+):\n", diff)
	}
}
