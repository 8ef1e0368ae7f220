package cli

import (
	"context"
	"io"
	"time"

	"tokend/kv/backup"

	"github.com/schollz/progressbar/v3"
)

// meter tells a person how far something is: by a bar on a terminal, elsewhere by a
// line now and then.
type meter struct {
	talk io.Writer
	bar  *progressbar.ProgressBar // nil: no terminal
	done string                   // what was done to the tokens
	said time.Time
}

func newMeter(talk io.Writer, doing, done string, size int64, options ...progressbar.Option) *meter {
	m := &meter{talk: talk, done: done, said: time.Now()}
	if isTerminal(talk) {
		m.bar = progressbar.NewOptions64(size, append(options,
			progressbar.OptionSetWriter(talk), progressbar.OptionSetDescription(doing),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())...)
	}
	return m
}

// Write moves the bar by what was read of a file.
func (m *meter) Write(p []byte) (int, error) {
	if m.bar != nil {
		_ = m.bar.Add(len(p))
	}
	return len(p), nil
}

// tokens says how many are done, and about how many there will be, until somebody
// interrupts it.
func (m *meter) tokens(ctx context.Context) backup.Progress {
	return func(done, about int) error {
		if m.bar != nil && about > 0 {
			m.bar.ChangeMax(max(done, about))
		}
		if m.bar != nil {
			_ = m.bar.Set(done)
		}
		m.sayNowAndThen(done)
		return interruption(ctx)
	}
}

func interruption(ctx context.Context) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return nil
}

// sayNowAndThen is for where there is no bar.
func (m *meter) sayNowAndThen(done int) {
	const interval = 5 * time.Second
	if m.bar == nil && time.Since(m.said) > interval {
		m.said = time.Now()
		say(m.talk, "%s %s so far\n", m.done, tokens(done))
	}
}

// clear takes the bar away.
func (m *meter) clear() {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
}
