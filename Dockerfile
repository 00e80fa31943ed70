# Pulsegraph alone: broker, log and database are elsewhere, so the embedded PostgreSQL stays out.
FROM oven/bun:1.4.5-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json bunfig.toml ./
RUN bun install --frozen-lockfile --production --omit=optional

FROM oven/bun:1.4.5-slim
WORKDIR /app
ENV NODE_ENV=production DATA_DIR=/data PORT=4000
RUN mkdir /data && chown bun:bun /data
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json tsconfig.json ./
COPY src ./src
USER bun
VOLUME /data
EXPOSE 4000
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=12 \
  CMD ["bun", "-e", "const s = process.env.HTTPS_CERT ? 's' : ''; process.exit((await fetch(`http${s}://127.0.0.1:${process.env.PORT}/healthz`, { tls: { rejectUnauthorized: false } })).ok ? 0 : 1)"]
CMD ["bun", "src/index.ts"]
