//go:build race

package testkit

// Parallel does nothing: the race detector makes waiting tests busy ones.
func Parallel() {}
