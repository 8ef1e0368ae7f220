package cli_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// historian records what many clients ask of few tokens and what they are told, while
// the server is killed again and again. What it was told must be true afterwards.
type historian struct {
	t     *testing.T
	names []string
	begun time.Time

	mu      sync.Mutex
	history []porcupine.Operation
	values  map[string][]string // of each name, in the order in which they came
}

// asked is an operation on one token.
type asked struct {
	name          string
	kind          string // one of changes, or "verify" or "read"
	value         string // to verify
	active, write bool
	id            int // stands for a value that nobody was told
}

// told is what came of it.
type told struct {
	unknown bool // no answer, or one that says that the outcome is unknown
	status  int
	value   string // that was made or read

	active, write bool // as read
}

var changes = []string{"create", "replace", "change", "rotate", "rotate with a grace", "delete", "activate in bulk", "deactivate in bulk", "delete in bulk"}

func newHistorian(t *testing.T, names int) *historian {
	h := &historian{t: t, begun: time.Now(), values: map[string][]string{}}
	for i := range names {
		h.names = append(h.names, fmt.Sprint("token-", i))
	}
	return h
}

// work has a client ask at random until nobody answers any more.
func (h *historian) work(p *process, client int, acknowledged func()) {
	random := rand.New(rand.NewPCG(uint64(client), uint64(time.Now().UnixNano())))
	for {
		op := asked{name: h.names[random.IntN(len(h.names))], active: random.IntN(4) > 0, write: random.IntN(2) > 0, id: random.Int()}
		op.kind = changes[random.IntN(len(changes))]
		if known := h.known(op.name); len(known) > 0 && random.IntN(3) == 0 {
			op.kind, op.value = "verify", known[max(0, len(known)-1-random.IntN(3))]
		}
		out := h.perform(p, client, op)
		if out.unknown {
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
		h.perform(p, 0, asked{name: name, kind: "read"})
		known := h.known(name)
		for _, value := range known[max(0, len(known)-4):] {
			h.perform(p, 0, asked{name: name, kind: "verify", value: value})
		}
	}
}

// perform asks and records. When an operation of unknown outcome ended is for end to
// say.
func (h *historian) perform(p *process, client int, op asked) told {
	call := time.Since(h.begun).Nanoseconds()
	out := ask(p, op)
	returned := time.Since(h.begun).Nanoseconds()
	if out.unknown {
		returned = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if known := h.values[op.name]; out.value != "" && (len(known) == 0 || known[len(known)-1] != out.value) {
		h.values[op.name] = append(slices.Clip(known), out.value)
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

func ask(p *process, op asked) told {
	var (
		status int
		tokens []token
		err    error
	)
	switch body := fmt.Sprintf(`{"name":%q,"active":%v,"write":%v}`, op.name, op.active, op.write); op.kind {
	case "create":
		status, tokens, err = p.ask("POST", "/_/token", body)
	case "replace":
		status, _, err = p.ask("PUT", "/_/token", body)
	case "change":
		status, _, err = p.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":%q,"write":%v}`, op.name, op.write))
	case "rotate":
		status, tokens, err = p.ask("POST", "/_/token/rotate", fmt.Sprintf(`{"name":%q}`, op.name))
	case "rotate with a grace":
		status, tokens, err = p.ask("POST", "/_/token/rotate", fmt.Sprintf(`{"name":%q,"grace_ms":36000000}`, op.name))
	case "delete":
		status, _, err = p.ask("DELETE", "/_/token?name="+op.name, "")
	case "activate in bulk", "deactivate in bulk", "delete in bulk":
		action := op.kind[:len(op.kind)-len(" in bulk")]
		status, _, err = p.ask("POST", "/_/token/bulk", fmt.Sprintf(`{"action":%q,"names":[%q]}`, action, op.name))
	case "read":
		if status, tokens, err = p.ask("GET", "/_/token/value?name="+op.name, ""); status == http.StatusOK {
			var shown []token
			if status, shown, err = p.ask("GET", "/_/token?name="+op.name, ""); err == nil {
				return told{status: status, value: tokens[0].Token, active: shown[0].Active, write: shown[0].Write}
			}
		}
	case "verify":
		status, err = p.present(op.value)
	}
	out := told{unknown: err != nil || status >= 500, status: status}
	if err == nil && len(tokens) > 0 && status < 300 {
		out.value = tokens[0].Token
	}
	return out
}

// expectLinearizable holds that all clients could have come one after another.
func (h *historian) expectLinearizable() {
	h.t.Helper()
	switch result, _ := porcupine.CheckOperationsVerbose(model.ToModel(), h.history, 5*time.Minute); result {
	case porcupine.Ok:
		h.t.Logf("%d operations are linearizable", len(h.history))
	case porcupine.Illegal:
		h.t.Errorf("%d operations are not linearizable", len(h.history))
	case porcupine.Unknown:
		h.t.Error("no verdict in five minutes")
	}
}

// tokenState is a token of one name; no value is no token.
type tokenState struct {
	value, previous string
	active, write   bool
}

// model is what may be of a token. What was not answered was done or was not.
var model = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byName := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(asked).name
			byName[name] = append(byName[name], op)
		}
		var all [][]porcupine.Operation
		for _, part := range byName {
			all = append(all, part)
		}
		return all
	},
	Init: func() []any { return []any{tokenState{}} },
	Step: func(before, input, output any) []any {
		state, op, out := before.(tokenState), input.(asked), output.(told)
		if !out.unknown {
			if status, after := step(state, op, out); status == out.status {
				return []any{after}
			}
			return nil
		}
		out.value = fmt.Sprint("untold ", op.id)
		if _, after := step(state, op, out); after != state {
			return []any{state, after}
		}
		return []any{state}
	},
}

func step(state tokenState, op asked, out told) (status int, after tokenState) {
	exists := state.value != ""
	switch op.kind {
	case "create":
		if exists {
			return http.StatusConflict, state
		}
		return http.StatusCreated, tokenState{value: out.value, active: op.active, write: op.write}
	case "verify":
		return state.verify(op.value), state
	case "read":
		return state.read(out)
	}
	if !exists {
		return http.StatusNotFound, state
	}
	switch op.kind {
	case "delete", "delete in bulk":
		return http.StatusOK, tokenState{}
	case "replace":
		state.active, state.write = op.active, op.write
	case "change":
		state.write = op.write
	case "activate in bulk":
		state.active = true
	case "deactivate in bulk":
		state.active = false
	case "rotate":
		state.value, state.previous = out.value, ""
	case "rotate with a grace":
		state.value, state.previous = out.value, state.value
	}
	if !state.active {
		state.previous = ""
	}
	return http.StatusOK, state
}

func (s tokenState) verify(value string) (status int) {
	switch {
	case !s.active || value != s.value && value != s.previous:
		return http.StatusUnauthorized
	case !s.write:
		return http.StatusForbidden
	}
	return http.StatusOK
}

// read learns a value that nobody was told.
func (s tokenState) read(out told) (status int, after tokenState) {
	const impossible = 0
	if s.value == "" {
		return http.StatusNotFound, s
	}
	isTold := len(s.value) < len("untold ") || s.value[:len("untold ")] != "untold "
	if isTold && out.value != s.value || out.active != s.active || out.write != s.write {
		return impossible, s
	}
	s.value = out.value
	return http.StatusOK, s
}
