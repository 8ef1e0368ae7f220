package daemon

import (
	"context"
	"log/slog"
)

// IsAt reports whether a listener is at a configured address.
var IsAt = isAt

// Watch feeds the watchdog of systemd while a check succeeds.
func Watch(ctx context.Context, log *slog.Logger, check func() error) {
	(&sdNotifier{log: log, status: func() string { return "" }}).watch(ctx, check)
}
