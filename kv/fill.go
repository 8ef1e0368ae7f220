package kv

import (
	"time"

	"tokend/kv/internal/index"
)

// fill offers all records to the index, in pieces so that it holds no snapshot
// for long.
func (s *Store) fill() {
	defer s.users.Done()
	defer close(s.filled)
	begin := time.Now()
	err := s.fillEntries()
	if err == nil && !s.index.HasOverflowed() { // those beyond the bound come and go, with uses of their own
		err = s.fillUses()
	}
	if s.closed.Load() {
		return
	}
	if err != nil {
		s.log.Error("cannot fill the index; verification reads the database", "err", err)
		return
	}
	s.index.MarkFilled()
	if s.index.HasOverflowed() && s.index.Max() > 0 {
		s.log.Warn("there are more tokens than the index may hold; verification of the others reads the database", "max_indexed_tokens", s.index.Max())
	}
	s.log.Debug("the index is filled", "tokens", s.index.Count(), "took", time.Since(begin))
}

const fillPiece = 512 // records

func (s *Store) fillEntries() error {
	after, more := "", true
	for more && !s.closed.Load() && !s.index.HasOverflowed() {
		since := s.index.Published()
		err := s.read(func(view view) error {
			more = false
			left := fillPiece
			for r, err := range view.records("", append(recordKey(after), 0)) {
				if err != nil {
					return err
				}
				if left == 0 {
					more = true
					break
				}
				if !s.offerAll(&r, since) {
					more = true // from this one on, in its newest state
					break
				}
				after = r.Name
				left--
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// offerAll offers a record under all its values. It is false where the record may be out of
// date.
func (s *Store) offerAll(r *record, since uint64) bool {
	for _, hash := range r.hashes() {
		if _, ok := s.index.Offer(r.entry(hash), since, false); !ok {
			return false
		}
	}
	return true
}

// fillUses tells the entries their last uses.
func (s *Store) fillUses() error {
	return s.read(func(view view) error {
		next := 0
		for entry, err := range view.Entries(usesPrefix, nil) {
			if err != nil {
				return err
			}
			stored, err := decodeUses(entry.Value)
			if err != nil {
				return err
			}
			shard := shardOf(entry.Key)
			if shard == index.Shards { // Check tells of it
				continue
			}
			for ; next < shard; next++ {
				s.index.Learn(next, nil)
			}
			if next == shard {
				s.index.Learn(next, stored)
				next++
			}
		}
		for ; next < index.Shards; next++ {
			s.index.Learn(next, nil)
		}
		return nil
	})
}
