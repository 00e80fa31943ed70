import type { GraphiQLOptions } from 'graphql-yoga';

/** GraphiQL with its assets in the page: nothing is loaded from elsewhere. */
export async function renderGraphiQL(options: GraphiQLOptions | undefined): Promise<string> {
  // 9 MB of script: loaded when somebody first opens the page.
  const { renderGraphiQL: render } = await import('@graphql-yoga/render-graphiql');
  return render(options);
}

const USERS = `# Users, their devices, and each one's newest reading.
query Devices {
  users(first: 10) {
    nodes {
      id
      devices(first: 10) {
        nodes {
          deviceId
          lastSeenAt
          latest { time sequenceId extraData }
        }
      }
    }
  }
}
`;

const TELEMETRY = `# Daily buckets of one user's devices. Leave out bucket, and maxPoints (500) chooses it.
query Telemetry {
  user(id: "user_123") {
    telemetry(
      keys: ["temperature"]
      from: "2013-12-01T00:00:00Z"
      to: "2014-03-01T00:00:00Z"
      bucket: "1d"
      timezone: "Europe/Berlin"
    ) {
      deviceId
      key
      known
      bucket
      points { start count avg min max first last }
    }
  }
}
`;

const RULES = `# Replaces all of a user's rules. An operator names the user.
mutation SetRules {
  setRules(
    userId: "user_123"
    rules: [
      { key: "battery", operator: LT, threshold: 20, message: "Battery of {device_id} at {value}" }
      {
        key: "engine.rpm"
        operator: GT
        threshold: 6000
        message: "Engine too fast: {value}"
        severity: CRITICAL
      }
    ]
  ) {
    version
    rules { ruleId key operator threshold severity }
  }
}
`;

const EXPLAIN = `# Why a rule fires, or does not, on each device.
query Explain {
  user(id: "user_123") {
    devices(first: 3) {
      nodes {
        deviceId
        explainRules { rule { ruleId } status reason since }
      }
    }
  }
}
`;

const ALERTS = `# Alerts as they fire and resolve. With after: 0, all that is stored first.
subscription AlertEvents {
  alertEvents {
    seq
    type
    time
    message
    value
    alert { id status severity startedAt device { deviceId } }
  }
}
`;

const INGEST = `# How storing keeps up, and what could not be stored.
query Ingest {
  ingest {
    lag
    lanes { partition state problem watermark lag }
    counters { records live late replay future deadLetters transitions }
  }
  deadLetters(first: 10) { nodes { time topic reason detail } }
}
`;

/**
 * What GraphiQL opens with: its button offers each operation by name. One document, not one a tab:
 * its tabs swallow the first click, and for a moment after it run the operation of the tab before.
 */
export const GRAPHIQL_DOCUMENT = [USERS, TELEMETRY, RULES, EXPLAIN, ALERTS, INGEST].join('\n');

/** Its WebSocket leaves out what stands under Headers, a token too: then events come over HTTP. */
export function graphiqlOptions(hasTokens: boolean): GraphiQLOptions {
  return {
    title: 'Pulsegraph',
    subscriptionsProtocol: hasTokens ? 'SSE' : 'WS',
    defaultQuery: GRAPHIQL_DOCUMENT,
  };
}
