/** Who may log in to an MQTT broker, and what EMQX 5 would let them do there. */

export type MqttAction = 'publish' | 'subscribe';

/** A row of mqtt_acl. */
export interface MqttRight {
  permission: 'allow' | 'deny';
  action: MqttAction | 'all';
  /** A filter, in which `${username}` and `${clientid}` stand for those; or `eq ` and a topic. */
  topic: string;
}

/** A row of mqtt_users that isn't disabled, with its rights in the order they are tried. */
export interface MqttAccount {
  username: string;
  passwordHash: string;
  /** Of PBKDF2; bcrypt has its own in the hash. */
  salt: string;
  /** Everything is allowed to it. */
  isSuperuser: boolean;
  rights: readonly MqttRight[];
}

/** What follows is compared as it is, wildcards too. */
const EXACT = 'eq ';

/**
 * Whether an account may publish to a topic, or subscribe a filter: the first right that matches
 * decides, and where none does it is denied (emqx_authz_rule with `no_match = deny`).
 *
 * One difference: EMQX lets `+` of an allowing right take in `#` of a subscription, and with it
 * topics that the right doesn't name; here it doesn't.
 */
export function isAllowed(
  account: MqttAccount,
  { clientId, action, topic }: { clientId: string; action: MqttAction; topic: string },
): boolean {
  if (account.isSuperuser) return true;
  const levels = topic.split('/');
  for (const right of account.rights) {
    if (right.action !== action && right.action !== 'all') continue;
    if (!takesIn(right, levels, account.username, clientId)) continue;
    return right.permission === 'allow';
  }
  return false;
}

function takesIn(right: MqttRight, levels: string[], username: string, clientId: string): boolean {
  // EMQX fills nothing into these.
  if (right.topic.startsWith(EXACT)) return right.topic.slice(EXACT.length) === levels.join('/');
  const filter = filled(right.topic, { username, clientid: clientId });
  if (filter === null) return false;
  const wanted = filter.split('/');
  if (levels[0]?.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false;
  for (const [i, level] of wanted.entries()) {
    if (level === '#') return true;
    if (i >= levels.length) return false;
    if (level === '+' && (levels[i] !== '#' || right.permission === 'deny')) continue;
    if (level !== levels[i]) return false;
  }
  return wanted.length === levels.length;
}

/** Null where a name would be a wildcard. */
function filled(template: string, names: Record<string, string>): string | null {
  if (!template.includes('$' + '{')) return template;
  let isWild = false;
  const filter = template.replace(/\$\{(username|clientid)\}/g, (_, name: string) => {
    const value = names[name] as string;
    isWild ||= value === '' || /[+#]/.test(value);
    return value;
  });
  return isWild ? null : filter;
}
