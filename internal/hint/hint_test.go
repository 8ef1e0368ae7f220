package hint_test

import (
	"errors"
	"os/exec"
	"testing"

	"tokend/internal/hint"
)

// A shell reads a quoted word as it was.
func TestQuote(t *testing.T) {
	for _, word := range []string{"plain/path-1.key", "", "with space", "it's", "$HOME", "a\nb", "*", "~", "ünï", "!x", "'"} {
		out, err := exec.Command("sh", "-c", "printf %s "+hint.Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q (%v)", word, out, err)
		}
	}
	if got := hint.Quote("plain/path"); got != "plain/path" {
		t.Errorf("%s is quoted needlessly", got)
	}
}

func TestNew(t *testing.T) {
	cause := errors.New("it failed")
	err := hint.New(cause, "do this")
	var hinted interface{ Hint() string }
	if !errors.Is(err, cause) || err.Error() != "it failed" || !errors.As(err, &hinted) || hinted.Hint() != "do this" {
		t.Error(err)
	}
}
