import { useState } from 'preact/hooks';
import { chooseUser, users } from '../state/session.ts';
import { Empty } from './bits.tsx';

/** For an operator where a view is of one user: also of one who has sent nothing yet. */
export function PickUser({ what }: { what: string }) {
  const [name, setName] = useState('');
  const pick = (event: Event) => {
    event.preventDefault();
    if (name.trim() !== '') chooseUser(name.trim());
  };
  return (
    <section class="panel">
      <h1 class="hidden">Choose a user</h1>
      <Empty title={`Whose ${what}?`}>
        <p>You see all users, and this is of one: choose, or name one who has sent nothing yet.</p>
        <form class="together" onSubmit={pick}>
          <input
            aria-label="User"
            list="known-users"
            placeholder={users.value[0] ?? 'user_123'}
            value={name}
            onInput={({ currentTarget }) => setName(currentTarget.value)}
          />
          <datalist id="known-users">
            {users.value.slice(0, 200).map((id) => (
              <option key={id} value={id} />
            ))}
          </datalist>
          <button type="submit" class="primary">
            Choose
          </button>
        </form>
        {users.value.length > 0 && (
          <p class="choices">
            {users.value.slice(0, 8).map((id) => (
              <button type="button" class="chip" key={id} onClick={() => chooseUser(id)}>
                {id}
              </button>
            ))}
          </p>
        )}
      </Empty>
    </section>
  );
}
