import { effect } from '@preact/signals';
import { render } from 'preact';
import { startAlerts } from './state/alerts.ts';
import { startIngest } from './state/ingest.ts';
import { connection } from './state/live.ts';
import { startSession } from './state/session.ts';
import { Shell } from './views/shell.tsx';

startSession();
startIngest();
startAlerts();
// The tab says it too, for those who look elsewhere.
effect(() => {
  document.title = connection.value.state === 'lost' ? 'Pulsegraph (disconnected)' : 'Pulsegraph';
});
render(<Shell />, document.getElementById('app') as HTMLElement);
