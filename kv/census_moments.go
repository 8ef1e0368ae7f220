package kv

import (
	"slices"
	"sort"
)

// moments are Unix milliseconds in order, each as often as it was added. Adding,
// removing and counting take microseconds among millions.
type moments struct {
	pieces [][]int64 // each in order, none empty, and none too long to insert into
}

const longestPiece = 512

// place is the first of the pieces that ends at a moment or later, and where in it
// the moment is or belongs.
func (m *moments) place(at int64) (piece, i int, found bool) {
	piece = sort.Search(len(m.pieces), func(p int) bool { return m.pieces[p][len(m.pieces[p])-1] >= at })
	if piece < len(m.pieces) {
		i, found = slices.BinarySearch(m.pieces[piece], at)
	}
	return piece, i, found
}

func (m *moments) add(at int64) {
	p, i, _ := m.place(at)
	switch {
	case len(m.pieces) == 0:
		m.pieces = [][]int64{{at}}
		return
	case p == len(m.pieces): // later than all
		p--
		i = len(m.pieces[p])
	}
	piece := slices.Insert(m.pieces[p], i, at)
	if len(piece) > longestPiece {
		half := len(piece) / 2
		m.pieces = slices.Insert(m.pieces, p+1, slices.Clone(piece[half:]))
		piece = slices.Clone(piece[:half]) // as long as it is: mostly nothing comes between any more
	}
	m.pieces[p] = piece
}

// remove takes a moment out once, if it is there.
func (m *moments) remove(at int64) {
	p, i, found := m.place(at)
	if !found {
		return
	}
	m.pieces[p] = slices.Delete(m.pieces[p], i, i+1)
	if len(m.pieces[p]) == 0 {
		m.pieces = slices.Delete(m.pieces, p, p+1)
	}
}

// upTo is how many are not later than a moment.
func (m *moments) upTo(at int64) (n int) {
	p, i, _ := m.place(at + 1)
	for _, piece := range m.pieces[:p] {
		n += len(piece)
	}
	return n + i
}
