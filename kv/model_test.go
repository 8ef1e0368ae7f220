package kv_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// model is the store as a map: what a client that knows only the promises
// would expect.
type model struct {
	store  *kvtest.Store
	tokens map[string]kv.Token
	values map[string]kv.Value
	dead   []kv.Value // values of deleted tokens
}

// The store does what the model does, whatever is asked of it and however often
// it is closed and opened in between.
func TestStore_model(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		bound := rapid.SampledFrom(bounds).Draw(r, "bound")
		m := &model{store: kvtest.New(t, func(o *kv.Options) { o.MaxIndexed = bound }), tokens: map[string]kv.Token{}, values: map[string]kv.Value{}}
		r.Repeat(map[string]func(*rapid.T){
			"create":  m.create,
			"replace": m.replace,
			"delete":  m.delete,
			"verify":  m.verify,
			"wait":    m.wait,
			"reopen":  m.reopen,
			"":        m.check,
		})
		m.store.Reopen() // which looks at every entry
		if err := m.store.Close(); err != nil {
			r.Error(err)
		}
	})
}

// spec draws from few names, so that they meet, and from times around now.
func (m *model) spec(r *rapid.T) kv.Spec {
	spec := kv.Spec{
		Name:   rapid.SampledFrom([]string{"a", "b", "ab", "é", "a b", "", " a", "x\ny"}).Draw(r, "name"),
		Active: rapid.Bool().Draw(r, "active"),
		Write:  rapid.Bool().Draw(r, "write"),
	}
	switch rapid.IntRange(0, 2).Draw(r, "expiry") {
	case 1:
		offset := rapid.Int64Range(-2000, 2000).Draw(r, "offset")
		spec.ExpiresAt = m.store.Clock.Now().Add(time.Duration(offset) * time.Millisecond)
	case 2:
		spec.ExpiresAt = m.tokens[spec.Name].ExpirationDate()
	}
	return spec
}

func (m *model) create(r *rapid.T) {
	spec, now := m.spec(r), m.store.Clock.Now()
	token, value, err := m.store.Create(spec)
	_, exists := m.tokens[spec.Name]
	switch {
	case !nameAllowed(spec.Name) || !future(spec.ExpiresAt, now):
		expectInvalid(r, err)
	case exists:
		expectError(r, err, kv.ErrExists)
	default:
		expectError(r, err, nil)
		want := kv.Token{Spec: spec, CreatedAt: now, UpdatedAt: now}
		expectEqual(r, want, token)
		m.tokens[spec.Name], m.values[spec.Name] = want, value
	}
}

func (m *model) replace(r *rapid.T) {
	spec, now := m.spec(r), m.store.Clock.Now()
	token, err := m.store.Replace(spec)
	before, exists := m.tokens[spec.Name]
	switch {
	case !exists && (!nameAllowed(spec.Name) || !future(spec.ExpiresAt, now)):
		expectInvalid(r, err)
		return
	case !exists:
		expectError(r, err, kv.ErrNotFound)
		return
	case spec.ExpiresAt.Equal(before.ExpirationDate()):
		spec.ExpiresAt = before.ExpiresAt
	case !future(spec.ExpiresAt, now):
		expectInvalid(r, err)
		return
	}
	expectError(r, err, nil)
	want := before
	want.Spec, want.UpdatedAt = spec, now
	expectEqual(r, want, token)
	m.tokens[spec.Name] = want
}

func (m *model) delete(r *rapid.T) {
	name := m.spec(r).Name
	token, err := m.store.Delete(name)
	want, exists := m.tokens[name]
	if !exists {
		expectError(r, err, kv.ErrNotFound)
		return
	}
	expectError(r, err, nil)
	expectEqual(r, want, token)
	m.dead = append(m.dead, m.values[name])
	delete(m.tokens, name)
	delete(m.values, name)
}

func (m *model) verify(r *rapid.T) {
	now := m.store.Clock.Now()
	for name, value := range m.values {
		if !rapid.Bool().Draw(r, "ask about "+name) {
			continue
		}
		token := m.tokens[name]
		grant, err := m.store.Verify([]byte(value.Reveal()))
		if !token.Active || !future(token.ExpiresAt, now) {
			expectError(r, err, kv.ErrInvalidToken)
			continue
		}
		expectError(r, err, nil)
		expectEqual(r, kv.Grant{
			Name: name, Write: token.Write, Expires: token.Expires(),
			ValueMade: token.CreatedAt, ExpirationDate: token.ExpirationDate(),
		}, grant)
		token.LastUsedAt = now
		m.tokens[name] = token
	}
}

func (m *model) wait(r *rapid.T) {
	m.store.Clock.Advance(time.Duration(rapid.IntRange(1, 3000).Draw(r, "milliseconds")) * time.Millisecond)
}

func (m *model) reopen(r *rapid.T) {
	if rapid.IntRange(0, 3).Draw(r, "rarely") == 0 { // it is the slowest by far
		m.store.Reopen()
	}
}

func (m *model) check(r *rapid.T) {
	for name, want := range m.tokens {
		got, err := m.store.Get(name)
		expectError(r, err, nil)
		expectEqual(r, want, got)
		got, err = m.store.Lookup(m.values[name])
		expectError(r, err, nil)
		expectEqual(r, want, got)
		if value, err := m.store.Value(name); err != nil || !value.Equal(m.values[name]) {
			r.Fatalf("the value of %q is another one (%v)", name, err)
		}
	}
	for _, value := range m.dead {
		_, err := m.store.Lookup(value)
		expectError(r, err, kv.ErrNotFound)
		_, err = m.store.Verify([]byte(value.Reveal()))
		expectError(r, err, kv.ErrInvalidToken)
	}
	snapshot, err := m.store.Snapshot()
	expectError(r, err, nil)
	defer snapshot.Close()
	var listed []kv.Token
	for token, err := range snapshot.Tokens() {
		expectError(r, err, nil)
		listed = append(listed, token)
	}
	var want []kv.Token
	for _, name := range slices.Sorted(maps.Keys(m.tokens)) {
		want = append(want, m.tokens[name])
	}
	expectEqual(r, want, listed)
}

func nameAllowed(name string) bool { return name != "" && name != " a" && name != "x\ny" }

func future(t, now time.Time) bool { return t.IsZero() || t.After(now) }

func expectError(r *rapid.T, got, want error) {
	if !errors.Is(got, want) {
		r.Fatalf("error %v, want %v", got, want)
	}
}

func expectInvalid(r *rapid.T, err error) {
	if _, ok := errors.AsType[*kv.InvalidError](err); !ok {
		r.Fatalf("error %v, want an InvalidError", err)
	}
}

func expectEqual(r *rapid.T, want, got any) {
	if diff := cmp.Diff(want, got); diff != "" {
		r.Fatal(fmt.Sprint("want (-), got (+):\n", diff))
	}
}
