package main

import (
	"context"
	"slices"
	"strings"

	"mailstack/accounts"
)

// fakeDirectory records what it is asked to do and answers from its fields.
type fakeDirectory struct {
	calls    []string
	refusal  error // of every change
	domains  []accounts.Domain
	accounts []accounts.Account
	aliases  []accounts.Alias
	dangling []accounts.Alias
	pending  []string
	hash     accounts.Secret // last one given
	quota    int64           // of the last account added
	change   accounts.AccountChange
}

func (f *fakeDirectory) do(call ...string) error {
	f.calls = append(f.calls, strings.Join(call, " "))
	return f.refusal
}

func (f *fakeDirectory) AddDomain(_ context.Context, name string) error {
	return f.do("add domain", name)
}

func (f *fakeDirectory) ListDomains(context.Context, bool) ([]accounts.Domain, error) {
	return f.domains, nil
}

func (f *fakeDirectory) RemoveDomain(_ context.Context, name string) error {
	return f.do("remove domain", name)
}

func (f *fakeDirectory) CheckFree(_ context.Context, address accounts.Address) error {
	return f.do("check", address.String())
}

func (f *fakeDirectory) AddAccount(_ context.Context, n accounts.NewAccount) error {
	f.hash, f.quota = n.Hash, n.QuotaBytes
	return f.do("add account", n.Address.String())
}

func (f *fakeDirectory) ListAccounts(_ context.Context, filter accounts.AccountFilter) ([]accounts.Account, error) {
	f.calls = append(f.calls, "list "+filter.Domain+" after "+filter.After.String())
	return f.accounts, nil
}

func (f *fakeDirectory) ShowAccount(_ context.Context, address accounts.Address) (detail accounts.AccountDetail, err error) {
	i := slices.IndexFunc(f.accounts, func(a accounts.Account) bool { return a.Address == address.String() })
	if i < 0 {
		return detail, &accounts.Error{Kind: accounts.ErrNotFound, Text: "there is no account " + address.String()}
	}
	return accounts.AccountDetail{Account: f.accounts[i]}, nil
}

func (f *fakeDirectory) SetPassword(_ context.Context, address accounts.Address, hash accounts.Secret) error {
	f.hash = hash
	f.pending = append(f.pending, address.String())
	return f.do("set password", address.String())
}

func (f *fakeDirectory) SetAccount(_ context.Context, address accounts.Address, change accounts.AccountChange) (bool, error) {
	f.change = change
	return true, f.do("set account", address.String())
}

func (f *fakeDirectory) RemoveAccount(_ context.Context, address accounts.Address) error {
	f.pending = append(f.pending, address.String())
	return f.do("remove account", address.String())
}

func (f *fakeDirectory) AddAlias(_ context.Context, address accounts.Address, targets ...accounts.Address) error {
	call := []string{"add alias", address.String()}
	for _, target := range targets {
		call = append(call, target.String())
	}
	return f.do(call...)
}

func (f *fakeDirectory) ListAliases(context.Context, accounts.AliasFilter) ([]accounts.Alias, error) {
	return f.aliases, nil
}

func (f *fakeDirectory) RemoveAlias(_ context.Context, address accounts.Address, targets ...accounts.Address) error {
	call := []string{"remove alias", address.String()}
	for _, target := range targets {
		call = append(call, target.String())
	}
	return f.do(call...)
}

func (f *fakeDirectory) Dangling(context.Context) ([]accounts.Alias, error) { return f.dangling, nil }

func (f *fakeDirectory) Pending(context.Context) ([]string, error) { return f.pending, nil }

func (f *fakeDirectory) FinishPending(ctx context.Context, sessions accounts.Sessions) (int, error) {
	if err := sessions.End(ctx, f.pending); err != nil {
		return 0, err
	}
	done := f.pending
	f.pending = nil
	return len(done), f.do("finished", strings.Join(done, " "))
}

// fakeSessions ends sessions, or cannot.
type fakeSessions struct{ err error }

func (s fakeSessions) End(context.Context, []string) error { return s.err }
