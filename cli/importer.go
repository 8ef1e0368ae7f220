package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"tokend/api/wire"
	"tokend/client"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

const (
	maxPiece      = 1 << 20 // bytes of a request
	maxPieceLines = 2000    // so that progress is seen
)

// importer sends a file piece by piece and keeps an account of what became of it.
type importer struct {
	account

	*meter

	server *server

	refused int  // lines
	listed  bool // in the account too
}

// account is what became of a file.
type account struct {
	Lines        int            `json:"lines"` // that are not blank
	Created      int            `json:"created"`
	AlreadyThere int            `json:"already_there"`
	Refused      []wire.Refusal `json:"refused"`
}

func newImporter(cmd *cobra.Command, c *server, size int64, listed bool) *importer {
	meter := newMeter(cmd.ErrOrStderr(), "importing", "imported", size, progressbar.OptionShowBytes(true))
	return &importer{meter: meter, server: c, listed: listed}
}

// piece is lines on their way, with their numbers in the file.
type piece struct {
	lines   [][]byte
	numbers []int
	size    int
}

func (p *piece) add(line []byte, number int) {
	p.lines, p.numbers = append(p.lines, line), append(p.numbers, number)
	p.size += len(line) + 1
}

// run sends all lines.
func (im *importer) run(ctx context.Context, in *bufio.Reader) error {
	defer im.clear()
	next := &piece{}
	for number := 1; ; number++ {
		line, err := im.readLine(in, number)
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("line %d cannot be read: %w", number, err), im.send(ctx, next))
		}
		if len(line) > 0 {
			im.Lines++
			next.add(line, number)
		}
		if err != nil {
			return im.send(ctx, next)
		}
		if len(next.lines) == maxPieceLines || next.size > maxPiece-client.MaxLine {
			if err := im.send(ctx, next); err != nil {
				return err
			}
			next = &piece{}
		}
	}
}

// readLine gives a line without its end. One that is blank, or too long and so
// refused, is empty. The last one comes with io.EOF.
func (im *importer) readLine(in *bufio.Reader, number int) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.Clone(bytes.TrimSpace(line)), err
	}
	im.Lines++
	im.refuse(wire.Refusal{Line: number, Code: wire.CodeInvalidBody, Detail: fmt.Sprintf("the line has more than %d KiB", client.MaxLine>>10)})
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.ReadSlice('\n')
	}
	return nil, err
}

// send sends a piece until each of its lines is taken or refused. The server
// takes no line of a batch of which it refuses one, so the others go again.
func (im *importer) send(ctx context.Context, p *piece) error {
	for len(p.lines) > 0 {
		batches, err := im.server.Import(ctx, p.lines)
		if err != nil {
			return im.server.explain(err)
		}
		again := &piece{}
		for _, b := range batches {
			if b.Error != nil {
				return &exitError{errors.New(b.Error.Detail), exitRefused} // the server's, not a line's
			}
			im.Created += b.Created
			if len(b.Refused) > 0 {
				im.sort(p, b, again)
			}
		}
		if len(again.lines) == len(p.lines) {
			return im.server.explain(im.server.NotTokend())
		}
		p = again
		im.sayNowAndThen(im.Created)
	}
	return nil
}

// sort puts what is refused of a batch into the account, and the rest into again.
func (im *importer) sort(p *piece, b wire.Batch, again *piece) {
	refused := map[int]wire.Refusal{}
	for _, r := range b.Refused {
		refused[r.Line] = r
	}
	for line := b.FirstLine; line <= b.LastLine; line++ {
		number := p.numbers[line-1]
		r, isRefused := refused[line]
		switch {
		case !isRefused:
			again.add(p.lines[line-1], number)
		case r.Code == wire.CodeAlreadyThere:
			im.AlreadyThere++
		default:
			r.Line = number
			im.refuse(r)
		}
	}
}

// refuse tells of a line that is not taken.
func (im *importer) refuse(r wire.Refusal) {
	im.refused++
	if im.listed {
		im.Refused = append(im.Refused, r)
	}
	im.clear()
	name := ""
	if r.Name != "" {
		name = fmt.Sprintf(" (%q)", r.Name)
	}
	say(im.talk, "line %d%s: %s\n", r.Line, name, r.Detail)
}
