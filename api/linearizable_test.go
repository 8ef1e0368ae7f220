package api_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tokend/internal/testkit"
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
			testkit.ExpectLinearizable(t, record(s))
		})
	}
}

var kinds = []string{"create", "replace", "change", "rotate", "rotate with a grace", "delete", "verify", "verify", "verify", "verify", "verify"}

// record has clients work on few tokens, with what any of them was told.
func record(s *server) (history []porcupine.Operation) {
	const clientCount, operations, names = 8, 150, 3
	var (
		mu     sync.Mutex
		values = map[string][]string{}
		wg     sync.WaitGroup
		begin  = time.Now()
		seed   = testkit.Seed(s.t)
	)
	for client := range clientCount {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), seed))
			for range operations {
				op := testkit.Asked{Name: fmt.Sprint("token-", random.IntN(names)), Active: random.IntN(4) > 0, Write: random.IntN(2) > 0}
				op.Kind = kinds[random.IntN(len(kinds))]
				mu.Lock()
				if known := values[op.Name]; op.Kind == "verify" {
					op.Value = kv.NewValue("tkd").Reveal()
					if len(known) > 0 {
						op.Value = known[max(0, len(known)-1-random.IntN(3))]
					}
				}
				mu.Unlock()
				call := time.Since(begin)
				out := perform(s, op)
				returned := time.Since(begin)
				mu.Lock()
				if out.Value != "" {
					values[op.Name] = append(values[op.Name], out.Value)
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

func perform(s *server, op testkit.Asked) testkit.Told {
	switch body := fmt.Sprintf(`{"name":%q,"active":%v,"write":%v}`, op.Name, op.Active, op.Write); op.Kind {
	case "create":
		a := s.ask("POST", "/_/token", body)
		if a.status != http.StatusCreated {
			return testkit.Told{Status: a.status}
		}
		return testkit.Told{Status: a.status, Value: a.data(s.t)[0]["token"].(string)}
	case "replace":
		return testkit.Told{Status: s.ask("PUT", "/_/token", body).status}
	case "change":
		return testkit.Told{Status: s.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":%q,"write":%v}`, op.Name, op.Write)).status}
	case "rotate", "rotate with a grace":
		grace := 0
		if op.Kind != "rotate" {
			grace = 3_600_000
		}
		a := s.ask("POST", "/_/token/rotate", fmt.Sprintf(`{"name":%q,"grace_ms":%d}`, op.Name, grace))
		if a.status != http.StatusOK {
			return testkit.Told{Status: a.status}
		}
		return testkit.Told{Status: a.status, Value: a.data(s.t)[0]["token"].(string)}
	case "delete":
		return testkit.Told{Status: s.ask("DELETE", "/_/token?name="+op.Name, "").status}
	default:
		return testkit.Told{Status: s.askAs("Bearer "+op.Value, "GET", "/_/auth/write", "").status}
	}
}
