//go:build !race

package testkit

import "flag"

// Race reports whether the race detector is built in. A sync.Pool then forgets at random, so
// that counts of allocations mean nothing.
const Race = false

// Parallel lets more tests run at once than there are cores, for packages whose tests mostly
// wait for processes and disks. TestMain calls it. -parallel wins.
func Parallel() {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
}
