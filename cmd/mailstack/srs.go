package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"mailstack/stack"
)

// What the senders of forwarded mail are made with, and were before (mailstack-srs).
const (
	srsSecret   = "srs"
	srsPrevious = "srs-previous"
)

// srsGood is how long such a sender stands for somebody: 21 days (MaxAge in
// mailstack-srs), and the rest of the day on which it was made.
const srsGood = 22 * 24 * time.Hour

func newSRSCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "srs",
		Short: "Change the secret that senders of forwarded mail are made with",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSRSRotateCmd(a))
	return cmd
}

func newSRSRotateCmd(a *app) *cobra.Command {
	var leaked bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Let a new secret take the place of the present one",
		Long: "rotate makes a new secret for the senders of forwarded mail (SRS), and starts Postfix\n" +
			"with it. What the present one made stays good for the three weeks that it would have\n" +
			"been: so there is no other change before they are over. With --leaked, for a secret\n" +
			"that somebody else may have got, nothing that was made before is good any more, and\n" +
			"bounces of mail that was forwarded lately are refused.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotateSRS(cmd.Context(), leaked) },
	}
	cmd.Flags().BoolVar(&leaked, "leaked", false, "take nothing more that the present secret, or the one before it, has made")
	return cmd
}

// rotateSRS may be killed at any moment: a secret that is missing is made by the next
// run, and by up.
func (a *app) rotateSRS(ctx context.Context, leaked bool) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	const doing = "change secret"
	if err := beenUp(cfg, doing); err != nil {
		return err
	}
	t, err := a.open(ctx)
	if err != nil {
		return err
	}
	l := t.set.Layout
	unlock, err := stack.Lock(l, "srs rotate", time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	var read [2]stack.Secret
	for i, name := range []string{srsSecret, srsPrevious} {
		if read[i], err = stack.ReadSecret(l, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	present, previous := read[0], read[1]
	switch next := nextSRS(present, previous); {
	case leaked:
		err = stack.RemoveSecrets(l, srsPrevious, srsSecret)
	case present.Generation == 0: // this was interrupted here
	case time.Now().Before(next):
		return hinted(fmt.Errorf("%s: what the one before the present one has made is good until %s", doing, next.Format(time.DateOnly)),
			"wait until then; where somebody else may have got it, mailstack srs rotate --leaked")
	default:
		err = stack.RetireSecret(l, srsSecret, srsPrevious)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if _, err := a.converge(ctx, t, stack.Options{}); err != nil {
		return err
	}
	fmt.Fprintln(a.Stderr, "senders of forwarded mail are made with a new secret")
	return nil
}

// nextSRS is when the previous secret is of no use any more. Until the present one was
// made it was in use; those that were made together have followed none.
func nextSRS(present, previous stack.Secret) time.Time {
	if present.Generation <= previous.Generation || previous.Generation == 0 {
		return time.Time{}
	}
	return time.Unix(present.Generation, 0).UTC().Add(srsGood)
}
