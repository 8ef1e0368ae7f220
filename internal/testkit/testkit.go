// Package testkit is what the tests of several packages share.
package testkit

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"
)

// Buffer may be written and read at the same time.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Do fails a test at an error.
func Do(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually asks until it gets what is wanted, for up to 30 seconds, and gives what it got.
func Eventually[T any](find func() T, want T) (got T) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if got = find(); reflect.DeepEqual(got, want) || time.Now().After(deadline) {
			return got
		}
	}
}

var seed = flag.Uint64("seed", 0, "of random numbers in tests; 0: a new one each time")

// Seed is the seed of a test's random numbers. It is printed when the test fails, and set by
// -seed.
func Seed(t testing.TB) uint64 {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to repeat its random numbers: go test -run '%s' -seed=%d", t.Name(), s)
		}
	})
	return s
}

// Rand gives random numbers of a Seed. One goroutine may use it; others have another stream.
func Rand(t testing.TB, stream uint64) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(stream, Seed(t))) //nolint:gosec // not a secret
}
