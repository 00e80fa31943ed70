import { Empty, Panel, SeverityBadge } from '../components/bits.tsx';
import { linkTo } from '../state/router.ts';
import { conditionOf } from '../state/rules.ts';
import { chooseUser } from '../state/session.ts';
import type { Rule } from '../state/types.ts';

export interface Explained {
  status: string;
  reason: string;
  since: string | null;
  value: unknown;
  lateReadings: number;
  snoozedUntil: string | null;
  rule: Rule;
}

/** Why each rule fires on this device, or does not, as the server words it. */
export function ExplainedRules({ user, rows }: { user: string; rows: readonly Explained[] }) {
  return (
    <Panel title="Rules on this device">
      {rows.length === 0 && (
        <Empty title="No rules yet">
          <p>
            <a href={linkTo('rules', 'new')} onClick={() => chooseUser(user)}>
              Write the first
            </a>
          </p>
        </Empty>
      )}
      <ul class="explained">
        {rows.map(({ rule, status, reason }) => (
          <li key={rule.ruleId}>
            <p class="explained-head">
              <a href={linkTo('rules', rule.ruleId)} onClick={() => chooseUser(user)}>
                {conditionOf(rule)}
              </a>
              {status === 'FIRING' || status === 'CLEARING' ? (
                <SeverityBadge severity={rule.severity ?? 'WARNING'} />
              ) : (
                <span class="badge">{status.replaceAll('_', ' ').toLowerCase()}</span>
              )}
            </p>
            <p class="hint">{reason}</p>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
