package kv_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	s := kvtest.New(t, func(o *kv.Options) {
		o.MinFreeBytes = 7
		o.FreeBytes = func(string) (uint64, error) { return 1 << 40, nil }
	})
	create(t, s, kv.Spec{Name: "x"})
	before, err := s.Usage()
	do(t, err)
	if before.Log == 0 || before.Tables != 0 || before.Other == 0 {
		t.Errorf("%+v", before)
	}
	if free, reserve, err := s.Room(); err != nil || free != 1<<40 || reserve != 7 {
		t.Errorf("%d bytes are free, %d in reserve, %v", free, reserve, err)
	}
	s.Reopen() // which writes out a table
	after, err := s.Usage()
	do(t, err)
	if after.Tables == 0 || after.ValueLog > 1<<20 {
		t.Errorf("%+v", after)
	}
	levels, err := s.Levels()
	do(t, err)
	if len(levels) == 0 || levels[0].Tables != 1 || levels[0].Due != 0 {
		t.Errorf("%+v", levels)
	}
	do(t, s.Close())
	if _, err := s.Levels(); !errors.Is(err, kv.ErrClosed) {
		t.Error(err)
	}
}

func TestNoteBackup(t *testing.T) {
	t.Parallel()
	s := kvtest.New(t)
	if at := s.LastBackup(); !at.IsZero() {
		t.Errorf("a new store was backed up at %v", at)
	}
	at := kvtest.Start.Add(time.Hour)
	do(t, s.NoteBackup(ctx, at))
	s.Clock.Set(at)
	do(t, s.NoteBackup(ctx, at.Add(-time.Minute))) // one that began before and took longer
	for range 2 {
		if got := s.LastBackup(); !got.Equal(at) {
			t.Errorf("backed up at %v, want %v", got, at)
		}
		s.Reopen()
	}
	do(t, s.NoteBackup(ctx, at.AddDate(5, 0, 0))) // by a clock that was wrong
	do(t, s.NoteBackup(ctx, at.Add(-time.Minute)))
	if got := s.LastBackup(); !got.Equal(at.Add(-time.Minute)) {
		t.Errorf("after the clock was put right, backed up at %v", got)
	}
}

func TestOnCommit(t *testing.T) {
	t.Parallel()
	var (
		mu         sync.Mutex
		commits    int
		operations int
	)
	s := kvtest.New(t, func(o *kv.Options) {
		o.OnCommit = func(took time.Duration, n int) {
			mu.Lock()
			defer mu.Unlock()
			commits++
			operations += n
			if took <= 0 {
				t.Errorf("a commit took %v", took)
			}
		}
	})
	open := s.Gate() // itself an operation
	var creates sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "a"} {
		creates.Go(func() { _, _, _ = s.Create(ctx, kv.Spec{Name: name}) })
	}
	for s.Waiting() < 4 {
		time.Sleep(time.Millisecond)
	}
	open()
	creates.Wait()
	_, _, _ = s.Create(ctx, kv.Spec{Name: "a"}) // alone, and nothing is written
	mu.Lock()
	defer mu.Unlock()
	if commits > 2 || operations != 5 {
		t.Errorf("%d commits of %d operations", commits, operations)
	}
}

// The reason why a value is refused is told apart from the refusal.
func TestVerify_reasons(t *testing.T) {
	t.Parallel()
	eachBound(t, func(t *testing.T, s *kvtest.Store) {
		_, good := create(t, s, kv.Spec{Name: "good", Active: true})
		_, inactive := create(t, s, kv.Spec{Name: "inactive", ExpiresAt: s.Clock.Now().Add(time.Minute)})
		_, expired := create(t, s, kv.Spec{Name: "expired", Active: true, ExpiresAt: s.Clock.Now().Add(time.Minute)})
		do(t, third(s.Rotate(ctx, "good", time.Minute)))
		s.Clock.Advance(time.Minute)
		for _, c := range []struct {
			presented string
			want      kv.Reason
		}{
			{"no value", kv.ReasonMalformed},
			{strings.Repeat("x", 513), kv.ReasonMalformed},
			{kv.NewValue("tkd").Reveal(), kv.ReasonUnknown},
			{inactive.Reveal(), kv.ReasonInactive},
			{expired.Reveal(), kv.ReasonExpired},
			{good.Reveal(), kv.ReasonExpired}, // its grace has ended
		} {
			_, err := s.Verify([]byte(c.presented))
			refused, ok := errors.AsType[*kv.InvalidTokenError](err)
			if !ok || refused.Reason != c.want || err.Error() != kv.ErrInvalidToken.Error() {
				t.Errorf("%.20q: %v, want reason %d", c.presented, err, c.want)
			}
		}
	})
}

func TestIndexMisses(t *testing.T) {
	t.Parallel()
	s := kvtest.New(t)
	_, value := create(t, s, kv.Spec{Name: "x", Active: true})
	s.AwaitFilled()
	before := s.IndexMisses()
	do(t, second(s.Verify([]byte(value.Reveal()))))
	_, _ = s.Verify([]byte(kv.NewValue("tkd").Reveal()))
	if n := s.IndexMisses() - before; n != 0 {
		t.Errorf("%d misses of what is in the index", n)
	}
	s.Forget(value)
	do(t, second(s.Verify([]byte(value.Reveal()))))
	if n := s.IndexMisses() - before; n != 1 {
		t.Errorf("%d misses after one", n)
	}
}
