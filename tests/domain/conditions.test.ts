import { cases } from '../support/rule-story.ts';

const FOR = { for: '10s' };
const EQUAL = { operator: '==' };

cases('a rule with `for` fires', [
  ['when it has held for exactly as long', [FOR, '0=81 5=82 10=83'], 'fired 10 since 0'],
  ['not a microsecond before', [FOR, '0=81 9.999999=82'], ''],
  ['not on one reading alone', [FOR, '0=81'], ''],
  ['over a gap: nothing says that it stopped', [FOR, '0=81 3600=82'], 'fired 3600 since 0'],
  [
    'from the last time that it did not hold',
    [FOR, '0=81 5=80 6=81 15=82 16=82'],
    'fired 16 since 6',
  ],
  ['over readings without the key', [FOR, '0=81 5 10=81'], 'fired 10 since 0'],
  ['over readings of another type', [FOR, '0=81 5="80" 6=null 7=true 10=81'], 'fired 10 since 0'],
  ['whatever a LATE reading says', [FOR, '0=81 8=81 9@4=80 10=81'], 'fired 10 since 0'],
  ['not sooner for a LATE reading', [FOR, '5=81 6@0=81 10=81'], ''],
  ['whatever a FUTURE reading says', [FOR, '0=81 5@500=80 10=81'], 'fired 10 since 0'],
  ['by event time, not by arrival', [FOR, '100@0=81 101@10=81'], 'fired 10 since 0'],
  ['by sequence id where times are equal', [FOR, '0=81 10=79 10=81'], ''],
  ['after a day', [{ for: 'P1D' }, '0=81 86399=81 86400=81'], 'fired 86400 since 0'],
  ['after a week', [{ for: 'P1W' }, '0=81 604799=81 604800=81'], 'fired 604800 since 0'],
  ['once', [FOR, '0=81 10=81 20=81 40=81'], 'fired 10 since 0'],
  ['with text', [{ ...EQUAL, threshold: 'up', ...FOR }, '0="up" 10="up"'], 'fired 10 since 0'],
  [
    'with a boolean',
    [{ ...EQUAL, threshold: false, ...FOR }, '0=false 10=false'],
    'fired 10 since 0',
  ],
  [
    'and waits again after it was over',
    [FOR, '0=81 10=81 11=80 12=81 21=81 22=81'],
    'fired 10 since 0, cleared 11, fired 22 since 12',
  ],
]);

const LOWER = { clear: { threshold: 75 } };
const HOLD = { clear: { for: '10s' } };
const BOTH = { clear: { threshold: 75, for: '10s' } };

cases('a rule with `clear`', [
  ['ends at the second threshold', [LOWER, '0=81 1=78 2=76 3=75'], 'fired 0, cleared 3'],
  ['goes on above it', [LOWER, '0=81 1=75.1'], 'fired 0'],
  ['does not begin between the two', [LOWER, '0=78 1=80'], ''],
  [
    'fires again only above the first',
    [LOWER, '0=81 1=70 2=78 3=81'],
    'fired 0, cleared 1, fired 3',
  ],
  ['ends where both are one', [{ clear: { threshold: 80 } }, '0=81 1=80'], 'fired 0, cleared 1'],
  [
    'below: on the other side',
    [{ operator: '<', threshold: 20, clear: { threshold: 25 } }, '0=19 1=24 2=25'],
    'fired 0, cleared 2',
  ],
  [
    'at least: equal goes on',
    [{ operator: '>=', clear: { threshold: 75 } }, '0=80 1=75 2=74'],
    'fired 0, cleared 2',
  ],
  [
    'at most: equal goes on',
    [{ operator: '<=', clear: { threshold: 85 } }, '0=80 1=85 2=86'],
    'fired 0, cleared 2',
  ],
  [
    'ends when it was over for exactly as long',
    [HOLD, '0=81 1=79 10=79 11=79'],
    'fired 0, cleared 11',
  ],
  ['goes on a microsecond before', [HOLD, '0=81 1=79 10.999999=79'], 'fired 0'],
  [
    'begins the hold anew where it holds again',
    [HOLD, '0=81 1=79 5=81 6=79 11=79 16=79'],
    'fired 0, cleared 16',
  ],
  [
    'counts from the first reading that says so',
    [HOLD, '0=81 3600=79 3609=79 3610=79'],
    'fired 0, cleared 3610',
  ],
  ['ends over a gap', [HOLD, '0=81 1=79 3600=79'], 'fired 0, cleared 3600'],
  ['ends over readings without the key', [HOLD, '0=81 1=79 5 11=79'], 'fired 0, cleared 11'],
  ['does not end on a reading without the key', [HOLD, '0=81 1=79 11'], 'fired 0'],
  ['ends whatever a LATE reading says', [HOLD, '0=81 1=79 11@0.5=81 12=79'], 'fired 0, cleared 12'],
  ['both: between the two goes on', [BOTH, '0=81 1=78 12=78'], 'fired 0'],
  [
    'both: the hold is at the second',
    [BOTH, '0=81 1=70 5=76 6=70 15=70 16=70'],
    'fired 0, cleared 16',
  ],
  ['fires again after it', [HOLD, '0=81 1=79 11=79 12=81'], 'fired 0, cleared 11, fired 12'],
  [
    'text ends after the hold',
    [{ ...EQUAL, threshold: 'up', ...HOLD }, '0="up" 1="down" 11="gone"'],
    'fired 0, cleared 11',
  ],
  [
    'with `for`: each waits for itself',
    [{ for: '5s', clear: { for: '5s' } }, '0=81 5=81 6=79 11=79 12=81 17=81'],
    'fired 5 since 0, cleared 11, fired 17 since 12',
  ],
]);

cases('a rule takes', [
  ['every device', [{}, '0=81'], 'fired 0'],
  ['those of its glob', [{ devices: 'pump_?' }, '0=81'], 'fired 0'],
  ['no others', [{ devices: 'fan_*' }, '0=81'], ''],
  ['none while it is off', [{ enabled: false }, '0=81'], ''],
  ['not those on which it is off', [{ off: ['fan_1', 'pump_1'] }, '0=81'], ''],
  ['those on which it is not off', [{ off: ['fan_1'] }, '0=81'], 'fired 0'],
]);
