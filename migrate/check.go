package migrate

import (
	"context"
)

// Check compares both sides without copying anything. Mail that was not brought
// yet is missing, then. final: nobody uses the old server any more.
func (m *Migration) Check(ctx context.Context, final bool) (*Report, error) {
	meter := newMeter(m.Progress, m.now)
	report := m.begin(final)
	err := m.scan(ctx, meter)
	if err == nil {
		err = m.verify(ctx, final, meter, report)
	}
	m.end(report, meter, err)
	return report, err
}
