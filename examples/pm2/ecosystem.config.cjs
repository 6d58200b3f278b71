// pm2 start examples/pm2/ecosystem.config.cjs
// pm2 reload sessions: new processes serve before the old ones have ended, on the same database.
module.exports = {
  apps: [
    {
      name: 'sessions',
      script: 'examples/pm2/server.ts',
      node_args: '--import tsx',
      exec_mode: 'cluster',
      instances: 4,
      // The server says when it listens, and has ten seconds to finish what is under way.
      wait_ready: true,
      kill_timeout: 10_000
    }
  ]
}
