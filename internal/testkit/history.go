package testkit

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// Asked is an operation on one token, in a history of what many clients ask.
type Asked struct {
	Name          string
	Kind          string // one of Changes, or "verify" or "read"
	Value         string // to verify
	Active, Write bool
	ID            int // stands for a value that nobody was told
}

// Told is what came of it.
type Told struct {
	Unknown bool   // no answer, or one that says that the outcome is unknown
	Status  int    // of HTTP
	Value   string // that was made or read

	Active, Write bool // as read
}

// Changes are the kinds of operations that change a token.
var Changes = []string{"create", "replace", "change", "rotate", "rotate with a grace", "delete", "activate in bulk", "deactivate in bulk", "delete in bulk"}

// ExpectLinearizable holds that the clients of a history could have come one after another.
// Its operations have an Asked as their input and a Told as their output.
func ExpectLinearizable(t testing.TB, history []porcupine.Operation) {
	t.Helper()
	switch result, _ := porcupine.CheckOperationsVerbose(tokens.ToModel(), history, 5*time.Minute); result {
	case porcupine.Ok:
		t.Logf("%d operations are linearizable", len(history))
	case porcupine.Illegal:
		t.Errorf("%d operations are not linearizable", len(history))
	case porcupine.Unknown:
		t.Error("no verdict in five minutes")
	}
}

// tokenState is a token of one name; no value is no token.
type tokenState struct {
	value, previous string
	active, write   bool
}

// tokens is what may be of a token. What was not answered was done or was not.
var tokens = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byName := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(Asked).Name
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
		state, op, out := before.(tokenState), input.(Asked), output.(Told)
		if !out.Unknown {
			if status, after := step(state, op, out); status == out.Status {
				return []any{after}
			}
			return nil
		}
		out.Value = fmt.Sprint("untold ", op.ID)
		if _, after := step(state, op, out); after != state {
			return []any{state, after}
		}
		return []any{state}
	},
}

func step(state tokenState, op Asked, out Told) (status int, after tokenState) {
	exists := state.value != ""
	switch op.Kind {
	case "create":
		if exists {
			return http.StatusConflict, state
		}
		return http.StatusCreated, tokenState{value: out.Value, active: op.Active, write: op.Write}
	case "verify":
		return state.verify(op.Value), state
	case "read":
		return state.read(out)
	}
	if !exists {
		return http.StatusNotFound, state
	}
	switch op.Kind {
	case "delete", "delete in bulk":
		return http.StatusOK, tokenState{}
	case "replace":
		state.active, state.write = op.Active, op.Write
	case "change":
		state.write = op.Write
	case "activate in bulk":
		state.active = true
	case "deactivate in bulk":
		state.active = false
	case "rotate":
		state.value, state.previous = out.Value, ""
	case "rotate with a grace":
		state.value, state.previous = out.Value, state.value
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
func (s tokenState) read(out Told) (status int, after tokenState) {
	const impossible = 0
	if s.value == "" {
		return http.StatusNotFound, s
	}
	isTold := !strings.HasPrefix(s.value, "untold ")
	if isTold && out.Value != s.value || out.Active != s.active || out.Write != s.write {
		return impossible, s
	}
	s.value = out.Value
	return http.StatusOK, s
}
