//go:build race

package testkit

// Race reports whether the race detector is built in. A sync.Pool then forgets at random, so
// that counts of allocations mean nothing.
const Race = true

// Parallel does nothing: the race detector makes waiting tests busy ones.
func Parallel() {}
