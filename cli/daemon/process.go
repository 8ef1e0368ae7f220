package daemon

import (
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"
)

// PrepareProcess makes the process one that holds a store: what it makes is for its owner, and
// its memory is private.
func PrepareProcess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // there is little garbage, so memory is worth more than a rare collection
	}
	syscall.Umask(0o077)           // what Badger makes is for its owner
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more ends nothing
	keepMemoryPrivate()
}

// keepMemoryPrivate keeps keys and values out of core dumps, and other processes of the
// same user out of the memory (prctl(2), PR_SET_DUMPABLE). Where the system does not
// know of that, there is nothing to be done.
func keepMemoryPrivate() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// limitMemory has the garbage collector keep to the limit that systemd, or who else makes
// control groups, gives the process, unless GOMEMLIMIT says otherwise.
func limitMemory(log *slog.Logger) {
	_, err := memlimit.Set(memlimit.WithRatio(0.8), memlimit.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil && !errors.Is(err, memlimit.ErrNoLimit) && !errors.Is(err, memlimit.ErrNoCgroup) {
		log.Debug("the limit of memory is not known", "err", err)
	}
}
