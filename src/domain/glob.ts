/**
 * Whether a name matches a pattern in which `*` stands for any characters and `?` for one. Takes at
 * most pattern times name steps, whatever a user writes; a regular expression may take far more.
 */
export function matchesGlob(pattern: string, name: string): boolean {
  let at = 0;
  let inPattern = 0;
  /** Behind the last star, and where in the name its run ends for now. */
  let afterStar = -1;
  let starEnd = 0;
  while (at < name.length) {
    const wanted = pattern[inPattern];
    if (wanted === '*') {
      afterStar = ++inPattern;
      starEnd = at;
    } else if (wanted === '?') {
      inPattern++;
      // A character, as in SQL, may be two units of UTF-16.
      at += (name.codePointAt(at) as number) > 0xffff ? 2 : 1;
    } else if (wanted === name[at]) {
      inPattern++;
      at++;
    } else if (afterStar >= 0) {
      inPattern = afterStar;
      at = ++starEnd;
    } else {
      return false;
    }
  }
  while (pattern[inPattern] === '*') inPattern++;
  return inPattern === pattern.length;
}
