package cli_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokend/internal/testkit"

	"github.com/anishathalye/porcupine"
)

// historian records what many clients ask of few tokens and what they are told, while
// the server is killed again and again. What it was told must be true afterwards.
type historian struct {
	t     *testing.T
	names []string
	begun time.Time

	seed    uint64
	streams atomic.Uint64 // of random numbers, one for each client

	mu      sync.Mutex
	history []porcupine.Operation
	values  map[string][]string // of each name, in the order in which they came
}

func newHistorian(t *testing.T, names int) *historian {
	h := &historian{t: t, begun: time.Now(), seed: testkit.Seed(t), values: map[string][]string{}}
	for i := range names {
		h.names = append(h.names, fmt.Sprint("token-", i))
	}
	return h
}

// work has a client ask at random until nobody answers any more.
func (h *historian) work(p *process, client int, acknowledged func()) {
	random := rand.New(rand.NewPCG(h.streams.Add(1), h.seed))
	for {
		op := testkit.Asked{Name: h.names[random.IntN(len(h.names))], Active: random.IntN(4) > 0, Write: random.IntN(2) > 0, ID: random.Int()}
		op.Kind = testkit.Changes[random.IntN(len(testkit.Changes))]
		if known := h.known(op.Name); len(known) > 0 && random.IntN(3) == 0 {
			op.Kind, op.Value = "verify", known[max(0, len(known)-1-random.IntN(3))]
		}
		out := h.perform(p, client, op)
		if out.Unknown {
			return
		}
		acknowledged()
	}
}

func (h *historian) known(name string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.values[name]
}

// readAll looks at all tokens and at what is known of their values.
func (h *historian) readAll(p *process) {
	h.t.Helper()
	for _, name := range h.names {
		h.perform(p, 0, testkit.Asked{Name: name, Kind: "read"})
		known := h.known(name)
		for _, value := range known[max(0, len(known)-4):] {
			h.perform(p, 0, testkit.Asked{Name: name, Kind: "verify", Value: value})
		}
	}
}

// perform asks and records. When an operation of unknown outcome ended is for end to
// say.
func (h *historian) perform(p *process, client int, op testkit.Asked) testkit.Told {
	call := time.Since(h.begun).Nanoseconds()
	out := ask(p, op)
	returned := time.Since(h.begun).Nanoseconds()
	if out.Unknown {
		returned = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if known := h.values[op.Name]; out.Value != "" && (len(known) == 0 || known[len(known)-1] != out.Value) {
		h.values[op.Name] = append(slices.Clip(known), out.Value)
	}
	h.history = append(h.history, porcupine.Operation{ClientId: client, Input: op, Output: out, Call: call, Return: returned})
	return out
}

// end is called when the server is gone: what nobody knows the outcome of has happened
// until now or never.
func (h *historian) end() {
	now := time.Since(h.begun).Nanoseconds()
	for i := range h.history {
		h.history[i].Return = min(h.history[i].Return, now)
	}
}

func ask(p *process, op testkit.Asked) testkit.Told {
	var (
		status int
		tokens []token
		err    error
	)
	switch body := fmt.Sprintf(`{"name":%q,"active":%v,"write":%v}`, op.Name, op.Active, op.Write); op.Kind {
	case "create":
		status, tokens, err = p.ask("POST", "/_/token", body)
	case "replace":
		status, _, err = p.ask("PUT", "/_/token", body)
	case "change":
		status, _, err = p.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":%q,"write":%v}`, op.Name, op.Write))
	case "rotate":
		status, tokens, err = p.ask("POST", "/_/token/rotate", fmt.Sprintf(`{"name":%q}`, op.Name))
	case "rotate with a grace":
		status, tokens, err = p.ask("POST", "/_/token/rotate", fmt.Sprintf(`{"name":%q,"grace_ms":36000000}`, op.Name))
	case "delete":
		status, _, err = p.ask("DELETE", "/_/token?name="+op.Name, "")
	case "activate in bulk", "deactivate in bulk", "delete in bulk":
		action := op.Kind[:len(op.Kind)-len(" in bulk")]
		status, _, err = p.ask("POST", "/_/token/bulk", fmt.Sprintf(`{"action":%q,"names":[%q]}`, action, op.Name))
	case "read":
		if status, tokens, err = p.ask("GET", "/_/token/value?name="+op.Name, ""); status == http.StatusOK {
			var shown []token
			if status, shown, err = p.ask("GET", "/_/token?name="+op.Name, ""); err == nil {
				return testkit.Told{Status: status, Value: tokens[0].Token, Active: shown[0].Active, Write: shown[0].Write}
			}
		}
	case "verify":
		status, err = p.present(op.Value)
	}
	out := testkit.Told{Unknown: err != nil || status >= 500, Status: status}
	if err == nil && len(tokens) > 0 && status < 300 {
		out.Value = tokens[0].Token
	}
	return out
}
