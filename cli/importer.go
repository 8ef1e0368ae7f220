package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

const (
	maxLine       = 64 << 10 // bytes
	maxPiece      = 1 << 20  // bytes of a request
	maxPieceLines = 2000     // so that progress is seen
)

// importer sends a file piece by piece and keeps an account of what became of it.
type importer struct {
	account

	*meter

	client *client

	refused int  // lines
	listed  bool // in the account too
}

// account is what became of a file.
type account struct {
	Lines        int       `json:"lines"` // that are not blank
	Created      int       `json:"created"`
	AlreadyThere int       `json:"already_there"`
	Refused      []refusal `json:"refused"`
}

// refusal is a line that was not taken.
type refusal struct {
	Line   int    `json:"line"`
	Name   string `json:"name,omitzero"`
	Code   string `json:"code"`
	Field  string `json:"field,omitzero"`
	Detail string `json:"detail"`
}

// batch is what the server says of some lines: all of them were taken or none.
type batch struct {
	FirstLine int       `json:"first_line"`
	LastLine  int       `json:"last_line"`
	Created   int       `json:"created"`
	Refused   []refusal `json:"refused"`
	Error     *problem  `json:"error"`
}

// makesSense reports whether a server could mean it, and a terminal may see it.
func (b *batch) makesSense() bool {
	lines := b.LastLine - b.FirstLine + 1
	for _, r := range b.Refused {
		if r.Line < b.FirstLine || r.Line > b.LastLine || !isPlain(r.Detail+r.Name) {
			return false
		}
	}
	if len(b.Refused) > 0 || b.Error != nil {
		return lines > 0 && b.Created == 0 && (b.Error == nil || isPlain(b.Error.Detail))
	}
	return lines > 0 && b.Created == lines
}

func newImporter(cmd *cobra.Command, c *client, size int64, listed bool) *importer {
	meter := newMeter(cmd.ErrOrStderr(), "importing", "imported", size, progressbar.OptionShowBytes(true))
	return &importer{meter: meter, client: c, listed: listed}
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
		if len(next.lines) == maxPieceLines || next.size > maxPiece-maxLine {
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
	im.refuse(refusal{Line: number, Code: "invalid_body", Detail: fmt.Sprintf("the line has more than %d KiB", maxLine>>10)})
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.ReadSlice('\n')
	}
	return nil, err
}

// send sends a piece until each of its lines is taken or refused. The server
// takes no line of a batch of which it refuses one, so the others go again.
func (im *importer) send(ctx context.Context, p *piece) error {
	for len(p.lines) > 0 {
		batches, err := im.post(ctx, p)
		if err != nil {
			return err
		}
		again := &piece{}
		for _, b := range batches {
			if b.Error != nil {
				return &exitError{b.Error, exitRefused} // the server's, not a line's
			}
			im.Created += b.Created
			if len(b.Refused) > 0 {
				im.sort(p, b, again)
			}
		}
		if len(again.lines) == len(p.lines) {
			return im.client.senseless()
		}
		p = again
		im.sayNowAndThen(im.Created)
	}
	return nil
}

// sort puts what is refused of a batch into the account, and the rest into again.
func (im *importer) sort(p *piece, b batch, again *piece) {
	refused := map[int]refusal{}
	for _, r := range b.Refused {
		refused[r.Line] = r
	}
	for line := b.FirstLine; line <= b.LastLine; line++ {
		number := p.numbers[line-1]
		r, isRefused := refused[line]
		switch {
		case !isRefused:
			again.add(p.lines[line-1], number)
		case r.Code == "already_there":
			im.AlreadyThere++
		default:
			r.Line = number
			im.refuse(r)
		}
	}
}

// refuse tells of a line that is not taken.
func (im *importer) refuse(r refusal) {
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

// post sends a piece once.
func (im *importer) post(ctx context.Context, p *piece) ([]batch, error) {
	body := append(bytes.Join(p.lines, []byte{'\n'}), '\n')
	response, err := im.client.send(ctx, linesType, http.MethodPost, "/_/token/import", nil, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := im.client.readAnswer(ctx, response)
	if err != nil {
		return nil, err
	}
	batches, ok := parseBatches(raw, len(p.lines))
	if !ok {
		return nil, im.client.senseless()
	}
	return batches, nil
}

// parseBatches takes an answer to an import of so many lines apart. It is not ok where it
// does not say of each line what became of it, up to a failure of the server.
func parseBatches(answer []byte, lines int) (batches []batch, ok bool) {
	end := 0
	for line := range bytes.Lines(answer) {
		var b batch
		if err := json.Unmarshal(line, &b); err != nil || b.FirstLine != end+1 || b.LastLine > lines || !b.makesSense() {
			return nil, false
		}
		end = b.LastLine
		batches = append(batches, b)
	}
	return batches, len(batches) > 0 && (end == lines || batches[len(batches)-1].Error != nil)
}
