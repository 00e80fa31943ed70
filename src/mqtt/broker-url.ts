/** What an MQTT URL says besides the address. */

/** The URL without its login, for log lines. */
export function describeBroker(url: string): string {
  const parsed = new URL(url);
  parsed.username = '';
  parsed.password = '';
  return parsed.href.replace(/\/$/, '');
}

/** The login: what is given wins over what the URL holds. */
export function loginOf(options: { url: string; username?: string; password?: string }): {
  username?: string;
  password?: string;
} {
  const { username, password } = new URL(options.url);
  return {
    username: options.username ?? (decodeURIComponent(username) || undefined),
    password: options.password ?? (decodeURIComponent(password) || undefined),
  };
}
