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
	tokens map[string]*modelToken
	dead   []kv.Value // values that left
}

// modelToken is a token with its value and, until the first change after its
// grace, the one before.
type modelToken struct {
	kv.Token
	value, previous modelValue
}

type modelValue struct {
	kv.Value
	made, used time.Time
}

// The store does what the model does, whatever is asked of it and however often
// it is closed and opened in between.
func TestStore_model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		bound := rapid.SampledFrom(bounds).Draw(r, "bound")
		m := &model{store: kvtest.New(t, func(o *kv.Options) { o.MaxIndexed = bound }), tokens: map[string]*modelToken{}}
		r.Repeat(map[string]func(*rapid.T){
			"create":  m.create,
			"replace": m.replace,
			"update":  m.update,
			"rotate":  m.rotate,
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
		if token := m.tokens[spec.Name]; token != nil {
			spec.ExpiresAt = token.ExpirationDate()
		}
	}
	return spec
}

func (m *model) create(r *rapid.T) {
	spec, now := m.spec(r), m.store.Clock.Now()
	token, value, err := m.store.Create(ctx, spec)
	_, exists := m.tokens[spec.Name]
	switch {
	case exists:
		expectError(r, err, kv.ErrExists)
	case !nameAllowed(spec.Name) || !future(spec.ExpiresAt, now):
		expectInvalid(r, err)
	default:
		expectError(r, err, nil)
		want := kv.Token{Spec: spec, CreatedAt: now, UpdatedAt: now}
		expectEqual(r, want, token)
		m.tokens[spec.Name] = &modelToken{Token: want, value: modelValue{Value: value, made: now}}
	}
}

func (m *model) replace(r *rapid.T) {
	spec := m.spec(r)
	token, err := m.store.Replace(ctx, spec)
	m.expectChanged(r, spec, token, err)
}

func (m *model) update(r *rapid.T) {
	spec := m.spec(r)
	var patch kv.Patch
	before := m.tokens[spec.Name]
	if rapid.Bool().Draw(r, "patch active") {
		patch.Active = &spec.Active
	} else if before != nil {
		spec.Active = before.Active
	}
	if rapid.Bool().Draw(r, "patch write") {
		patch.Write = &spec.Write
	} else if before != nil {
		spec.Write = before.Write
	}
	switch {
	case rapid.Bool().Draw(r, "patch expiry"):
		patch.ExpiresAt = &spec.ExpiresAt
	case before != nil:
		spec.ExpiresAt = before.ExpirationDate()
	default:
		spec.ExpiresAt = time.Time{}
	}
	token, err := m.store.Update(ctx, spec.Name, patch)
	m.expectChanged(r, spec, token, err)
}

// expectChanged holds a change of everything in spec against the model.
func (m *model) expectChanged(r *rapid.T, spec kv.Spec, token kv.Token, err error) {
	now := m.store.Clock.Now()
	want := m.tokens[spec.Name]
	switch {
	case want == nil && (!nameAllowed(spec.Name) || !future(spec.ExpiresAt, now)):
		expectInvalid(r, err)
		return
	case want == nil:
		expectError(r, err, kv.ErrNotFound)
		return
	case spec.ExpiresAt.Equal(want.ExpirationDate()):
		spec.ExpiresAt = want.ExpiresAt
	case !future(spec.ExpiresAt, now):
		expectInvalid(r, err)
		return
	}
	expectError(r, err, nil)
	if spec == want.Spec {
		expectEqual(r, want.Token, token)
		return
	}
	want.Spec, want.UpdatedAt = spec, now
	m.boundGrace(want)
	expectEqual(r, want.Token, token)
}

// boundGrace lets the old value live no longer than it may.
func (m *model) boundGrace(token *modelToken) {
	if token.Expires() && token.PreviousValidUntil.After(token.ExpiresAt) {
		token.PreviousValidUntil = token.ExpiresAt
	}
	if token.Active && token.InGrace(m.store.Clock.Now()) {
		return
	}
	if !token.previous.made.IsZero() {
		m.dead = append(m.dead, token.previous.Value)
	}
	token.previous = modelValue{}
	token.PreviousValidUntil, token.PreviousLastUsedAt = time.Time{}, time.Time{}
}

func (m *model) rotate(r *rapid.T) {
	name, now := m.spec(r).Name, m.store.Clock.Now()
	grace := time.Duration(rapid.OneOf(rapid.Int64Range(-1, 1), rapid.Int64Range(0, 3000)).Draw(r, "grace")) * time.Millisecond
	token, value, err := m.store.Rotate(ctx, name, grace)
	want := m.tokens[name]
	switch {
	case grace < 0:
		expectInvalid(r, err)
		return
	case want == nil:
		expectError(r, err, kv.ErrNotFound)
		return
	}
	expectError(r, err, nil)
	if !want.previous.made.IsZero() {
		m.dead = append(m.dead, want.previous.Value)
	}
	want.previous, want.value = want.value, modelValue{Value: value, made: now}
	want.UpdatedAt, want.PreviousValidUntil, want.PreviousLastUsedAt = now, now.Add(grace), want.previous.used
	m.boundGrace(want)
	expectEqual(r, want.Token, token)
}

func (m *model) delete(r *rapid.T) {
	name := m.spec(r).Name
	token, err := m.store.Delete(ctx, name)
	want := m.tokens[name]
	if want == nil {
		expectError(r, err, kv.ErrNotFound)
		return
	}
	expectError(r, err, nil)
	expectEqual(r, want.Token, token)
	m.dead = append(m.dead, want.value.Value, want.previous.Value)
	delete(m.tokens, name)
}

func (m *model) verify(r *rapid.T) {
	now := m.store.Clock.Now()
	for name, token := range m.tokens {
		for _, value := range []*modelValue{&token.value, &token.previous} {
			isOld := value == &token.previous
			if value.made.IsZero() || !rapid.Bool().Draw(r, fmt.Sprintf("ask about %s, old: %v", name, isOld)) {
				continue
			}
			grant, err := m.store.Verify([]byte(value.Reveal()))
			if !token.Active || !future(token.ExpiresAt, now) || isOld && !token.InGrace(now) {
				expectError(r, err, kv.ErrInvalidToken)
				continue
			}
			expectError(r, err, nil)
			want := kv.Grant{
				Name: name, Write: token.Write, Expires: token.Expires(),
				ValueMade: value.made, ExpirationDate: token.ExpirationDate(),
			}
			value.used, token.LastUsedAt = now, now
			if isOld {
				want.GraceEnds, token.PreviousLastUsedAt = token.PreviousValidUntil, now
			}
			expectEqual(r, want, grant)
		}
	}
}

func (m *model) wait(r *rapid.T) {
	m.store.Clock.Advance(time.Duration(rapid.IntRange(1, 3000).Draw(r, "milliseconds")) * time.Millisecond)
}

func (m *model) reopen(r *rapid.T) {
	if rapid.IntRange(0, 3).Draw(r, "rarely") == 0 { // it is the slowest by far
		m.store.Reopen()
		if rapid.Bool().Draw(r, "filled") {
			m.store.AwaitFilled()
		}
	}
}

func (m *model) check(r *rapid.T) {
	for name, want := range m.tokens {
		got, err := m.store.Get(name)
		expectError(r, err, nil)
		expectEqual(r, want.Token, got)
		for _, value := range []modelValue{want.value, want.previous} {
			if value.made.IsZero() {
				continue
			}
			got, err = m.store.Lookup(value.Value)
			expectError(r, err, nil)
			expectEqual(r, want.Token, got)
		}
		if value, err := m.store.Value(name); err != nil || !value.Equal(want.value.Value) {
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
	for token, err := range snapshot.Tokens(kv.Filter{}, "", time.Time{}) {
		expectError(r, err, nil)
		listed = append(listed, token)
	}
	var want []kv.Token
	for _, name := range slices.Sorted(maps.Keys(m.tokens)) {
		want = append(want, m.tokens[name].Token)
	}
	expectEqual(r, want, listed)
	m.checkCensus(r)
}

// checkCensus compares what is kept with a scan.
func (m *model) checkCensus(r *rapid.T) {
	now, within := m.store.Clock.Now(), []time.Duration{0, 500 * time.Millisecond, time.Second, time.Hour}
	want := kv.Census{Expiring: make([]int, len(within))}
	for _, token := range m.tokens {
		switch token.Status(now) {
		case kv.StatusInactive:
			want.Inactive++
		case kv.StatusExpired:
			want.Expired++
		case kv.StatusActive:
			want.Active++
			for i, d := range within {
				if token.Expires() && !token.Valid(now.Add(d)) {
					want.Expiring[i]++
				}
			}
		}
	}
	expectEqual(r, want, census(r, m.store.Store, within...))
}

// census waits until it is known.
func census(t rapid.TB, s *kv.Store, within ...time.Duration) kv.Census {
	t.Helper()
	for range 10_000 {
		if c, known := s.Census(within...); known {
			return c
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the tokens are not counted")
	return kv.Census{}
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
