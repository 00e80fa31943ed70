import type { ComponentChild } from 'preact';
import { Empty, Notice } from '../components/bits.tsx';
import { counts } from '../state/alerts.ts';
import { signInReason, token, useToken } from '../state/api.ts';
import { shortTime } from '../state/format.ts';
import { connection } from '../state/live.ts';
import { type Theme, theme, zone, zones } from '../state/preferences.ts';
import { linkTo, route } from '../state/router.ts';
import { caller, chooseUser, startProblem, userId, users } from '../state/session.ts';
import { AlertsView } from './alerts.tsx';
import { DeadLettersView } from './dead-letters.tsx';
import { DeviceView } from './device.tsx';
import { Overview } from './overview.tsx';
import { RulesView } from './rules.tsx';
import { SignIn } from './sign-in.tsx';
import { TryItView } from './try-it.tsx';

const PLACES = [
  { path: '', title: 'Overview' },
  { path: 'alerts', title: 'Alerts' },
  { path: 'rules', title: 'Rules' },
  { path: 'dead-letters', title: 'Dead letters', isOperators: true },
  { path: 'try', title: 'Try it' },
] as const;

export function Shell() {
  if (signInReason.value !== null) return <SignIn reason={signInReason.value} />;
  const [place = ''] = route.value;
  return (
    <>
      {/* biome-ignore lint/a11y/useValidAnchor: it goes to a place in the page */}
      <a class="skip" href="#main" onClick={toMain}>
        Skip to content
      </a>
      <header class="top">
        <a class="brand" href={linkTo()}>
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <path d="M3 17h6l3-9 6 17 3-8h8" />
          </svg>
          Pulsegraph
        </a>
        <nav aria-label="Views">
          {PLACES.filter((each) => !('isOperators' in each) || caller.value?.isOperator).map(
            ({ path, title }) => (
              <a
                key={path}
                href={path === '' ? linkTo() : linkTo(path)}
                aria-current={isAt(place, path) ? 'page' : undefined}
              >
                {title}
                {path === 'alerts' && <FiringCount />}
              </a>
            ),
          )}
        </nav>
        <div class="settings">
          <UserSwitch />
          <ZoneSwitch />
          <ThemeSwitch />
          <Connection />
        </div>
      </header>
      <Disconnected />
      <main id="main" tabIndex={-1}>
        {caller.value === null ? <Starting /> : viewOf(route.value)}
      </main>
    </>
  );
}

/** The hash is the route's, so the link moves the focus itself. */
function toMain(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

const isAt = (place: string, path: string) =>
  place === path || (path === '' && place === 'devices');

function viewOf([place, first, second]: readonly string[]): ComponentChild {
  switch (place) {
    case undefined:
      return <Overview />;
    case 'devices':
      if (first === undefined || second === undefined) return <Overview />;
      return <DeviceView key={`${first}/${second}`} userId={first} deviceId={second} />;
    case 'alerts':
      return <AlertsView selected={first ?? null} />;
    case 'rules':
      return <RulesView key={userId.value} selected={first ?? null} />;
    case 'dead-letters':
      return <DeadLettersView />;
    case 'try':
      return <TryItView />;
    default:
      return <Nowhere />;
  }
}

function Nowhere() {
  return (
    <section class="panel">
      <h1 class="hidden">Nothing here</h1>
      <Empty title="There is nothing at this address">
        <a href={linkTo()}>All devices</a>
      </Empty>
    </section>
  );
}

function Starting() {
  if (startProblem.value === null) return <p class="loading">Loading…</p>;
  return <Notice kind="bad">{startProblem.value}. Trying again.</Notice>;
}

function FiringCount() {
  const firing = Object.values(counts.value).reduce((sum, count) => sum + count, 0);
  if (firing === 0) return null;
  return (
    <span class={`count ${counts.value.CRITICAL ? 'critical' : ''}`}>
      {firing}
      <span class="hidden"> firing</span>
    </span>
  );
}

function UserSwitch() {
  if (caller.value === null) return null;
  if (!caller.value.isOperator) {
    return (
      <span class="who">
        {caller.value.userId}
        {token() !== null && (
          <button type="button" class="small" onClick={() => useToken(null)}>
            Sign out
          </button>
        )}
      </span>
    );
  }
  const choose = (event: Event) => chooseUser((event.target as HTMLSelectElement).value || null);
  return (
    <select aria-label="User" value={userId.value ?? ''} onChange={choose}>
      <option value="">All users</option>
      {[...new Set([...users.value, ...(userId.value === null ? [] : [userId.value])])].map(
        (id) => (
          <option key={id} value={id}>
            {id}
          </option>
        ),
      )}
    </select>
  );
}

function ZoneSwitch() {
  const choose = (event: Event) => {
    zone.value = (event.target as HTMLSelectElement).value;
  };
  return (
    <select aria-label="Timezone" class="zone" value={zone.value} onChange={choose}>
      {zones.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}

function ThemeSwitch() {
  const choose = (event: Event) => {
    theme.value = (event.target as HTMLSelectElement).value as Theme;
  };
  return (
    <select aria-label="Theme" value={theme.value} onChange={choose}>
      <option value="auto">Auto</option>
      <option value="light">Light</option>
      <option value="dark">Dark</option>
    </select>
  );
}

const WORDS = { connecting: 'Connecting', live: 'Live', lost: 'Disconnected' };

function Connection() {
  const { state } = connection.value;
  return (
    <span class={`connection ${state}`} role="status">
      <span class="dot" aria-hidden="true" />
      {WORDS[state]}
    </span>
  );
}

function Disconnected() {
  const { state, since } = connection.value;
  if (state !== 'lost') return null;
  const at = shortTime(new Date(since).toISOString());
  return (
    <div class="banner" role="alert">
      Disconnected since {at}: what you see may be old. Trying again; nothing that happens meanwhile
      is missed.
    </div>
  );
}
