package index_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"tokend/internal/testkit"
	"tokend/kv/internal/index"
)

// keyOf is a key whose tag is spread like a hash's.
func keyOf(i int) index.Key {
	var hash [32]byte
	binary.BigEndian.PutUint64(hash[:], uint64(i)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(hash[8:], uint64(i))
	return index.KeyOf(hash)
}

func entry(i int) index.Entry {
	return index.Entry{Key: keyOf(i), Name: fmt.Sprint("token-", i), Active: true, Write: i%2 == 0}
}

func filled(limit, entries int) *index.Index {
	ix := index.New(limit)
	for i := range entries {
		ix.Offer(entry(i), ix.Published(), false)
	}
	ix.MarkFilled()
	return ix
}

// What was put in is found, with all that belongs to it, and nothing else is.
func TestFind(t *testing.T) {
	const n = 50_000
	ix := filled(n, n)
	for i := range n {
		e, ok := ix.Find(keyOf(i))
		if !ok || e.Name() != fmt.Sprint("token-", i) || e.Write() != (i%2 == 0) || !e.Valid(1) {
			t.Fatalf("entry %d: %v", i, ok)
		}
	}
	if _, ok := ix.Find(keyOf(n)); ok || !ix.Whole() || ix.Count() != n {
		t.Error("the index is not what was put in")
	}
	long := index.Entry{Key: keyOf(n), Name: "a name that does not fit the twenty-two bytes of an entry", Active: true, Expires: true, ExpirationDate: 10, Rotated: true, GraceEnds: 5}
	ix = index.New(10)
	ix.Offer(long, 0, false)
	e, ok := ix.Find(long.Key)
	if !ok || e.Name() != long.Name || e.GraceEnds() != 5 || !e.Valid(4) || e.Valid(5) {
		t.Error("an entry with an overflow is another one")
	}
}

// An offer that was read before a change is not taken; what was published stays.
func TestOffer_thatIsLate(t *testing.T) {
	ix := filled(10, 1)
	since := ix.Published()
	changed := entry(0)
	changed.Active = false
	ix.Publish([]index.Change{{Now: []index.Put{{Entry: changed}}}})
	if e, ok := ix.Offer(entry(0), since, true); !ok || e.Active() { // it is known, and so given as it is
		t.Error("the old state is back")
	}
	ix.Publish([]index.Change{{Left: []index.Key{keyOf(0)}}})
	if _, ok := ix.Offer(entry(0), since, true); ok {
		t.Error("a deleted value is back")
	}
	if _, ok := ix.Find(keyOf(0)); ok {
		t.Error("a deleted value is found")
	}
	if _, ok := ix.Offer(entry(0), ix.Published(), true); !ok {
		t.Error("what was read after the change is not taken")
	}
}

// Beyond the bound, an offer takes the place of another, whose last use is kept until it is on
// disk.
func TestOffer_beyondTheBound(t *testing.T) {
	const room = 1000
	ix := filled(room, room)
	for i := range room {
		e, _ := ix.Find(keyOf(i))
		ix.Use(e, int64(i+1))
	}
	const more = 500
	for i := room; i < room+more; i++ {
		if e, ok := ix.Offer(entry(i), ix.Published(), true); !ok || e.Name() != fmt.Sprint("token-", i) {
			t.Fatalf("entry %d is not given", i)
		}
	}
	if ix.Count() > room || ix.Whole() || !ix.HasOverflowed() {
		t.Errorf("%d entries, whole: %v", ix.Count(), ix.Whole())
	}
	for i := range room {
		if at, known := ix.LastUse(keyOf(i)); !known || at != int64(i+1) {
			t.Fatalf("the last use of %d is %d, %v", i, at, known)
		}
	}
}

// Last uses go to disk and come back: what is collected is what was used, and what was stored
// before stays where memory does not know better.
func TestUses(t *testing.T) {
	const n = 2000
	ix := filled(n, n)
	for i := range n {
		if i%3 == 0 {
			e, _ := ix.Find(keyOf(i))
			ix.Use(e, int64(1000+i))
		}
	}
	select {
	case <-ix.Woken():
	default:
		t.Error("nobody is woken")
	}
	stored := map[int]index.Uses{}
	for shard := range index.Shards {
		if ix.IsDirty(shard) {
			ix.SetDirty(shard, false)
			stored[shard] = ix.Collect(shard, nil)
			ix.Settle(shard, stored[shard])
			if !stored[shard].BelongTo(shard) {
				t.Fatal("a use is in the wrong shard")
			}
			again, err := index.DecodeUses(stored[shard].Encode())
			if err != nil || !slices.Equal(again, stored[shard]) {
				t.Fatal(err)
			}
		}
	}
	fresh := filled(n, n) // as after a start
	for shard := range index.Shards {
		fresh.Learn(shard, stored[shard])
	}
	for i := range n {
		want := int64(0)
		if i%3 == 0 {
			want = int64(1000 + i)
		}
		if at, known := fresh.LastUse(keyOf(i)); !known || at != want {
			t.Fatalf("%d was used at %d, %v; want %d", i, at, known, want)
		}
	}
}

// A use is never lost, however blocks are replaced meanwhile.
func TestUse_whileBlocksAreReplaced(t *testing.T) {
	const n, rounds = 64, 2000
	ix := filled(1<<20, n)
	seed := testkit.Seed(t)
	var wg sync.WaitGroup
	wg.Go(func() { // which replaces the blocks
		for round := range rounds {
			i := int(uint64(round)*seed) % n
			if i < 0 {
				i = -i
			}
			ix.Publish([]index.Change{{Now: []index.Put{{Entry: entry(i)}}}})
		}
	})
	for worker := range 4 {
		wg.Go(func() {
			for round := range rounds {
				for i := worker; i < n; i += 4 {
					e, ok := ix.Find(keyOf(i))
					if !ok {
						t.Errorf("entry %d is missing for a moment", i)
						return
					}
					ix.Use(e, int64(round+1))
				}
			}
		})
	}
	wg.Wait()
	for i := range n {
		if at, known := ix.LastUse(keyOf(i)); !known || at != rounds {
			t.Errorf("%d was last used at %d, %v", i, at, known)
		}
	}
}
