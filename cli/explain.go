package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tokend/api/wire"
	"tokend/client"
	"tokend/internal/hint"
)

// server is a client, and what a person must know of it where something fails.
type server struct {
	*client.Client

	source string // of the admin token, for people
}

// explain puts an error of the client into words that help a person, and gives it its exit
// code.
func (s *server) explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	if unreachable, ok := errors.AsType[*client.UnreachableError](err); ok {
		return &exitError{hint.New(unreachable, hintFor(unreachable)), exitUnreachable}
	}
	if errors.Is(err, client.ErrNotTokend) {
		return &exitError{hint.New(err, "--addr or TOKEND_ADDR says where it is"), exitUnreachable}
	}
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		return err
	}
	switch p.Code {
	case wire.CodeInvalidToken, wire.CodeUnauthorized:
		if !s.HasToken() && p.Code == wire.CodeUnauthorized {
			return hint.New(errors.New("your user is not an administrator of this server"),
				"try sudo, have your user put into admin_users, or name an admin token with --admin-token-file or TOKEND_ADMIN_TOKEN_FILE")
		}
		if s.HasToken() {
			return hint.New(fmt.Errorf("the server does not know the admin token in %s", s.source),
				"--admin-token-file or TOKEND_ADMIN_TOKEN_FILE names another one")
		}
	case wire.CodeInsufficientScope:
		if s.HasToken() {
			return fmt.Errorf("the admin token in %s may not do this: %w", s.source, err)
		}
	case wire.CodeNameTaken:
		return hint.New(err, "tokend token rotate gives it another value, tokend token update changes it")
	case wire.CodeShuttingDown, wire.CodeOverloaded:
		return &exitError{err, exitUnreachable}
	}
	return err
}

func hintFor(e *client.UnreachableError) string {
	switch {
	case errors.Is(e, fs.ErrPermission):
		return "your user may not use the socket; try sudo"
	case e.MayHaveChanged:
		return "a change may have been made; tokend token list shows it"
	case e.CutOff:
		return ""
	}
	return "is it running? tokend starts it; --addr or TOKEND_ADDR says where it is"
}
