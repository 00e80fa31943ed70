import { createApi } from './api.ts';
import { followAlerts } from './follow-alerts.ts';
import { graphql } from './graphql.ts';

const api = createApi({
  url: process.env.PULSEGRAPH_URL ?? 'http://127.0.0.1:4000/graphql',
  token: () => process.env.PULSEGRAPH_TOKEN ?? null,
});

const Firing = graphql(`
  query Firing($user: ID!) {
    user(id: $user) {
      alerts(status: [FIRING], first: 10) {
        nodes {
          message
          severity
          startedAt
          device {
            deviceId
          }
        }
      }
    }
  }
`);

const { user } = await api.query(Firing, { user: process.env.PULSEGRAPH_USER ?? 'user_123' });
for (const { startedAt, severity, device, message } of user?.alerts.nodes ?? []) {
  console.log(`firing since ${startedAt}  ${severity}  ${device.deviceId}  ${message}`);
}

const after = process.env.AFTER === undefined ? undefined : Number(process.env.AFTER);
for await (const { seq, time, type, alert, message } of followAlerts(api, after)) {
  console.log(`${seq}  ${time}  ${type}  ${alert.device.deviceId}  ${message}`);
}
