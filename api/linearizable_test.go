package api_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// What many clients at once see of a token could have been seen if they had
// come one after another: a history of creating, changing, rotating, deleting and
// verifying over HTTP is linearizable.
func TestLinearizable(t *testing.T) {
	for _, bound := range []int{0, 1 << 20} {
		t.Run(fmt.Sprintf("room for %d", bound), func(t *testing.T) {
			s := newServer(t, func(store *kvtest.Store) {
				do(t, store.Close())
				store.Options.MaxIndexed = bound
				store.Reopen()
			})
			history := record(s)
			switch result, _ := porcupine.CheckOperationsVerbose(tokenModel, history, time.Minute); result {
			case porcupine.Ok:
			case porcupine.Illegal:
				t.Errorf("%d operations are not linearizable", len(history))
			case porcupine.Unknown:
				t.Fatal("no verdict in a minute")
			}
		})
	}
}

type operation struct {
	name   string // of the token
	kind   string // one of kinds
	value  string // to verify
	active bool   // to create or replace
	write  bool
}

type outcome struct {
	status int
	value  string // that was made
}

var kinds = []string{"create", "replace", "update", "rotate", "rotate with a grace", "delete", "verify", "verify", "verify", "verify", "verify"}

// record has clients work on few tokens, with what any of them was told.
func record(s *server) (history []porcupine.Operation) {
	const clientCount, operations, names = 8, 150, 3
	var (
		mu     sync.Mutex
		values = map[string][]string{}
		wg     sync.WaitGroup
		begin  = time.Now()
	)
	for client := range clientCount {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), uint64(begin.UnixNano())))
			for range operations {
				op := operation{name: fmt.Sprint("token-", random.IntN(names)), active: random.IntN(4) > 0, write: random.IntN(2) > 0}
				op.kind = kinds[random.IntN(len(kinds))]
				mu.Lock()
				if known := values[op.name]; op.kind == "verify" {
					op.value = kv.NewValue("tkd").Reveal()
					if len(known) > 0 {
						op.value = known[max(0, len(known)-1-random.IntN(3))]
					}
				}
				mu.Unlock()
				call := time.Since(begin)
				out := perform(s, op)
				returned := time.Since(begin)
				mu.Lock()
				if out.value != "" {
					values[op.name] = append(values[op.name], out.value)
				}
				history = append(history, porcupine.Operation{
					ClientId: client, Input: op, Output: out, Call: call.Nanoseconds(), Return: returned.Nanoseconds(),
				})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return history
}

func perform(s *server, op operation) outcome {
	switch body := fmt.Sprintf(`{"name":%q,"active":%v,"write":%v}`, op.name, op.active, op.write); op.kind {
	case "create":
		a := s.ask("POST", "/_/token", body)
		if a.status != http.StatusCreated {
			return outcome{status: a.status}
		}
		return outcome{a.status, a.data(s.t)[0]["token"].(string)}
	case "replace":
		return outcome{status: s.ask("PUT", "/_/token", body).status}
	case "update":
		return outcome{status: s.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":%q,"write":%v}`, op.name, op.write)).status}
	case "rotate", "rotate with a grace":
		grace := 0
		if op.kind != "rotate" {
			grace = 3_600_000
		}
		a := s.ask("POST", "/_/token/rotate", fmt.Sprintf(`{"name":%q,"grace_ms":%d}`, op.name, grace))
		if a.status != http.StatusOK {
			return outcome{status: a.status}
		}
		return outcome{a.status, a.data(s.t)[0]["token"].(string)}
	case "delete":
		return outcome{status: s.ask("DELETE", "/_/token?name="+op.name, "").status}
	default:
		return outcome{status: s.askAs("Bearer "+op.value, "GET", "/_/auth/write", "").status}
	}
}

// tokenState is a token of one name; no value is no token.
type tokenState struct {
	value         string
	previous      string // within its grace
	active, write bool
}

var tokenModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byName := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(operation).name
			byName[name] = append(byName[name], op)
		}
		var all [][]porcupine.Operation
		for _, part := range byName {
			all = append(all, part)
		}
		return all
	},
	Init: func() any { return tokenState{} },
	Step: func(before, input, output any) (bool, any) {
		state, op, out := before.(tokenState), input.(operation), output.(outcome)
		want, after := step(state, op, out)
		return out.status == want, after
	},
}

func step(state tokenState, op operation, out outcome) (status int, after tokenState) {
	exists := state.value != ""
	switch {
	case op.kind == "create" && exists:
		return http.StatusConflict, state
	case op.kind == "create":
		return http.StatusCreated, tokenState{value: out.value, active: op.active, write: op.write}
	case op.kind != "verify" && !exists:
		return http.StatusNotFound, state
	case op.kind == "delete":
		return http.StatusOK, tokenState{}
	case op.kind == "replace":
		if !op.active {
			state.previous = ""
		}
		state.active, state.write = op.active, op.write
		return http.StatusOK, state
	case op.kind == "update":
		state.write = op.write
		return http.StatusOK, state
	case op.kind == "rotate", op.kind == "rotate with a grace" && !state.active:
		state.value, state.previous = out.value, ""
		return http.StatusOK, state
	case op.kind == "rotate with a grace":
		state.value, state.previous = out.value, state.value
		return http.StatusOK, state
	case op.value != state.value && op.value != state.previous || !state.active:
		return http.StatusUnauthorized, state
	case !state.write:
		return http.StatusForbidden, state
	}
	return http.StatusOK, state
}
