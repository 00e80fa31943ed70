import { useState } from 'preact/hooks';
import { token, useToken } from '../state/api.ts';

/** Where the API wants a token: what one is, and where it goes. */
export function SignIn({ reason }: { reason: string }) {
  const [text, setText] = useState('');
  const enter = (event: Event) => {
    event.preventDefault();
    if (text.trim() !== '') useToken(text);
  };
  return (
    <main class="sign-in">
      <form class="panel" onSubmit={enter}>
        <h1>Sign in to Pulsegraph</h1>
        <p>
          This server asks for a token, the same that your app sends as{' '}
          <code>Authorization: Bearer …</code>
        </p>
        {token() !== null && (
          <p class="fault" role="alert">
            The last one was refused: {reason}.
          </p>
        )}
        <label>
          Token (JWT)
          <textarea
            rows={5}
            value={text}
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary">
          Sign in
        </button>
        <p class="hint">
          It stays in this tab and is forgotten when you close it. Whoever runs the server can make
          one with <code>bun src/token --user your_name</code>, or <code>--role operator</code> for
          all users.
        </p>
      </form>
    </main>
  );
}
