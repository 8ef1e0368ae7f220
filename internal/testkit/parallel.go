//go:build !race

package testkit

import "flag"

// Parallel lets more tests run at once than there are cores, for packages whose tests mostly
// wait for processes and disks. TestMain calls it. -parallel wins.
func Parallel() {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
}
