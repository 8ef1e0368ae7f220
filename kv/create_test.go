package kv_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// Tokens that were made elsewhere keep what is known of them.
func TestCreateAll_madeElsewhere(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	now := store.Clock.Now()
	theirs, err := kv.ParseValue("s3cr3t-of-another-system")
	do(t, err)
	long := now.Add(-1000 * time.Hour)
	all, err := store.CreateAll(ctx, []kv.NewToken{
		{Spec: kv.Spec{Name: "plain", Active: true}},
		{Spec: kv.Spec{Name: "theirs", Active: true, ExpiresAt: now.Add(-time.Hour)}, Value: theirs, CreatedAt: long, UpdatedAt: long.Add(time.Hour), LastUsedAt: long.Add(2 * time.Hour)},
		{Spec: kv.Spec{Name: "ahead", Active: true}, CreatedAt: now.Add(time.Hour), UpdatedAt: now.Add(time.Hour), LastUsedAt: now.Add(time.Hour)},
	})
	do(t, err)
	want := []kv.Token{
		{Spec: kv.Spec{Name: "plain", Active: true}, CreatedAt: now, UpdatedAt: now},
		{Spec: kv.Spec{Name: "theirs", Active: true, ExpiresAt: now.Add(-time.Hour)}, CreatedAt: long, UpdatedAt: long.Add(time.Hour), LastUsedAt: long.Add(2 * time.Hour)},
		{Spec: kv.Spec{Name: "ahead", Active: true}, CreatedAt: now, UpdatedAt: now, LastUsedAt: now},
	}
	for range 2 {
		for i, token := range want {
			if diff := cmp.Diff(token, all[i].Token); diff != "" {
				t.Error(diff)
			}
			if got, err := store.Get(token.Name); err != nil || !cmp.Equal(token, got) {
				t.Error(err, cmp.Diff(token, got))
			}
		}
		store.Reopen()
	}
	expectInvalidToken(t, store, theirs)
	do(t, second(store.Update(ctx, "theirs", kv.Patch{ExpiresAt: new(time.Time)})))
	if grant, err := store.Verify([]byte(theirs.Reveal())); err != nil || grant.Name != "theirs" || !grant.ValueMade.Equal(long) {
		t.Error(grant, err)
	}
}

// One token that cannot be made keeps all of its batch out, and each of them is
// named with the reason.
func TestCreateAll_refusals(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	now := store.Clock.Now()
	value := func(text string) kv.Value {
		v, err := kv.ParseValue(strings.Repeat(text, 16))
		do(t, err)
		return v
	}
	_, err := store.CreateAll(ctx, []kv.NewToken{
		{Spec: kv.Spec{Name: "a", Active: true, ExpiresAt: now.Add(time.Hour)}, Value: value("a")},
		{Spec: kv.Spec{Name: "b"}, Value: value("b")},
		{Spec: kv.Spec{Name: "rotated", Active: true}, Value: value("r")},
	})
	do(t, err)
	rotate(t, store, "rotated", time.Hour)
	before := list(t, store)
	good := kv.NewToken{Spec: kv.Spec{Name: "good"}, Value: value("g")}
	for _, c := range []struct {
		name string
		new  kv.NewToken
		want string
		is   error
		same bool
	}{
		{"the same again", kv.NewToken{Spec: kv.Spec{Name: "a", Active: true, ExpiresAt: now.Add(time.Hour)}, Value: value("a")}, `a token named "a" exists`, kv.ErrExists, true},
		{"the same, its value left out", kv.NewToken{Spec: kv.Spec{Name: "b"}}, `a token named "b" exists`, kv.ErrExists, true},
		{"other rights", kv.NewToken{Spec: kv.Spec{Name: "b", Write: true}, Value: value("b")}, `a token named "b" exists`, kv.ErrExists, false},
		{"another switch", kv.NewToken{Spec: kv.Spec{Name: "b", Active: true}, Value: value("b")}, `a token named "b" exists`, kv.ErrExists, false},
		{"another expiry", kv.NewToken{Spec: kv.Spec{Name: "b", ExpiresAt: now.Add(1)}, Value: value("b"), CreatedAt: now.Add(-time.Hour)}, `a token named "b" exists`, kv.ErrExists, false},
		{"another value", kv.NewToken{Spec: kv.Spec{Name: "b"}, Value: value("x")}, `a token named "b" exists`, kv.ErrExists, false},
		{"a value that is taken", kv.NewToken{Spec: kv.Spec{Name: "x"}, Value: value("a")}, `the token "a" has this value, or had it before its rotation`, kv.ErrValueTaken, false},
		{"an old value within its grace", kv.NewToken{Spec: kv.Spec{Name: "x"}, Value: value("r")}, `the token "rotated" has this value, or had it before its rotation`, kv.ErrValueTaken, false},
		{"a name from before in the batch", kv.NewToken{Spec: kv.Spec{Name: "good", Write: true}}, `the name "good" comes twice`, kv.ErrExists, false},
		{"a value from before in the batch", kv.NewToken{Spec: kv.Spec{Name: "x"}, Value: value("g")}, `the value comes twice, first for "good"`, kv.ErrValueTaken, false},
		{"no name", kv.NewToken{}, "name is empty; a name has 1 to 128 characters", nil, false},
		{"an expiry before it was made", kv.NewToken{Spec: kv.Spec{Name: "x", ExpiresAt: now.Add(-time.Minute)}, CreatedAt: now.Add(-time.Second)},
			fmt.Sprintf("expiration_date %d is not in the future (now is %d)", now.Add(-time.Minute).UnixMilli(), now.UnixMilli()), nil, false},
		{"all times in seconds", kv.NewToken{Spec: kv.Spec{Name: "x", ExpiresAt: time.UnixMilli(1900000000)}, CreatedAt: time.UnixMilli(1700000000)},
			"expiration_date 1900000000 is in 1970; milliseconds are expected", nil, false},
		{"the same as one before in the batch", kv.NewToken{Spec: kv.Spec{Name: "good"}, Value: value("g")}, `the name "good" comes twice`, kv.ErrExists, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := store.CreateAll(ctx, []kv.NewToken{good, c.new, {Spec: kv.Spec{Name: "b"}}})
			batch, ok := errors.AsType[*kv.BatchError](err)
			if !ok || len(batch.Refusals) != 2 || batch.Refusals[0].Index != 1 || batch.Refusals[1].Index != 2 {
				t.Fatal(err)
			}
			if got := batch.Refusals[0]; got.Err.Error() != c.want || got.Same != c.same || (c.is != nil && !errors.Is(got.Err, c.is)) {
				t.Errorf("%v, same: %v", got.Err, got.Same)
			}
			if diff := cmp.Diff(before, list(t, store)); diff != "" {
				t.Error("it changed something: ", diff)
			}
		})
	}
}

// A token that is refused takes neither its name nor its value from those behind
// it.
func TestCreateAll_refusedClaimNothing(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	value, err := kv.ParseValue("a-value-from-elsewhere")
	do(t, err)
	do(t, second(store.CreateAll(ctx, []kv.NewToken{{Spec: kv.Spec{Name: "taken"}, Value: value}})))
	another, err := kv.ParseValue("another-value-from-elsewhere")
	do(t, err)
	_, err = store.CreateAll(ctx, []kv.NewToken{
		{Spec: kv.Spec{Name: "a"}, Value: value}, // refused
		{Spec: kv.Spec{Name: "a"}},
		{Spec: kv.Spec{Name: "taken"}, Value: another}, // refused
		{Spec: kv.Spec{Name: "b"}, Value: another},
	})
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Refusals) != 2 || batch.Refusals[0].Index != 0 || batch.Refusals[1].Index != 2 {
		t.Error(err)
	}
}

// 500 always fit, as a client of imports may count on.
func TestCreateAll_largest(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	batch := make([]kv.NewToken, 500)
	for i := range batch {
		v, err := kv.ParseValue(fmt.Sprintf("%0512d", i))
		do(t, err)
		batch[i] = kv.NewToken{Spec: kv.Spec{Name: longName(i), ExpiresAt: store.Clock.Now().Add(time.Hour)}, Value: v, LastUsedAt: store.Clock.Now()}
	}
	do(t, second(store.CreateAll(ctx, batch)))
}

// longName is a name of the greatest length.
func longName(i int) string {
	name := []rune(strings.Repeat("\U00020000", kv.MaxNameLength))
	for place := len(name) - 1; i > 0; place, i = place-1, i/10 {
		name[place] += rune(i % 10)
	}
	return string(name)
}
