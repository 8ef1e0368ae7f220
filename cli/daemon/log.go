package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"

	"tokend/config"
)

func levelOf(c config.Log) (level slog.Level) {
	_ = level.UnmarshalText([]byte(c.Level)) // validated
	return level
}

// newHandler gives one line for each event, as the reader likes it.
func newHandler(c config.Log, w io.Writer, toJournal bool, level slog.Leveler) slog.Handler {
	if toJournal {
		return newJournalHandler(c, w, level)
	}
	return newFormat(c, w, &slog.HandlerOptions{Level: level})
}

func newFormat(c config.Log, w io.Writer, options *slog.HandlerOptions) slog.Handler {
	if c.Format == "json" {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// IsJournal reports whether what is written goes to systemd's journal, which
// knows the time itself and takes a priority from the beginning of each line.
func IsJournal(w io.Writer) bool {
	ok, err := journal.StderrIsJournalStream()
	return err == nil && ok && w == os.Stderr
}

// journalHandler gives each line its priority (sd-daemon(3)).
type journalHandler struct {
	level      slog.Leveler
	byPriority map[journal.Priority]slog.Handler
}

func newJournalHandler(c config.Log, w io.Writer, level slog.Leveler) slog.Handler {
	h := &journalHandler{level, map[journal.Priority]slog.Handler{}}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}
	for _, priority := range []journal.Priority{journal.PriErr, journal.PriWarning, journal.PriInfo, journal.PriDebug} {
		h.byPriority[priority] = newFormat(c, &prefixWriter{w, fmt.Sprintf("<%d>", priority)}, options)
	}
	return h
}

func priorityOf(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.byPriority[priorityOf(r.Level)].Handle(ctx, r)
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (h *journalHandler) each(with func(slog.Handler) slog.Handler) slog.Handler {
	all := map[journal.Priority]slog.Handler{}
	for priority, handler := range h.byPriority {
		all[priority] = with(handler)
	}
	return &journalHandler{h.level, all}
}

// prefixWriter writes each line, which comes in one piece, after a prefix, in
// one piece.
type prefixWriter struct {
	w      io.Writer
	prefix string
}

func (w *prefixWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(append([]byte(w.prefix), p...))
	return max(n-len(w.prefix), 0), err
}

// auditFile is the file of the audit, which is opened again at each reload, so
// that it can be moved away before.
type auditFile struct {
	mu   sync.Mutex
	file *os.File
	torn bool // its last line is not whole
}

// openAuditFile refuses a pipe: one that nobody reads would hold up whoever writes.
func openAuditFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("audit.file: %s is not a file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("audit.file: %w", err)
	}
	if info, err := file.Stat(); err != nil || info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, errors.Join(fmt.Errorf("audit.file: %s is not a file", path), err, file.Close())
	}
	return file, nil
}

// use writes to a file from now on, and closes the one before.
func (a *auditFile) use(file *os.File) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil {
		_ = a.file.Close()
	}
	a.file, a.torn = file, false
}

func (a *auditFile) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.torn { // the next one must not be part of it
		if _, err := a.file.WriteString("\n"); err != nil {
			return 0, err
		}
		a.torn = false
	}
	n, err := a.file.Write(p)
	a.torn = n > 0 && n < len(p)
	return n, err
}
