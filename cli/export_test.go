package cli

import (
	"context"
	"log/slog"
)

// Relative is a moment as people say it.
var Relative = relative

// IsAt reports whether a listener is at a configured address.
var IsAt = isAt

// Watch feeds the watchdog of systemd while a check succeeds.
func Watch(ctx context.Context, log *slog.Logger, check func() error) {
	(&manager{log: log, status: func() string { return "" }}).watch(ctx, check)
}

// Address is the best of a server's addresses.
var Address = address
