// What happens to the session elsewhere: its run, and changes from another tab or a program. Asked for every second while a
// run goes on, every few seconds else, and not at all while nobody looks.

const RUNNING_MS = 1000, QUIET_MS = 3000, JOIN_MS = 8000;

/** actions: token(), ask({token}), isFollowed(), join(), heard(news). Ends with the element. */
export function follow(element, actions) {
  let joined = -Infinity;
  const look = async () => {
    if (!element.isConnected) return;
    const token = actions.token();
    let wait = QUIET_MS;
    if (token && !document.hidden) {
      const news = await actions.ask({ token }).catch(() => null);
      if (news && !news.error && token === actions.token()) {
        if (news.running) wait = RUNNING_MS;
        if (news.running && !actions.isFollowed() && performance.now() - joined > JOIN_MS) {
          joined = performance.now();
          actions.join();
        }
        actions.heard(news);
      }
    }
    setTimeout(look, wait);
  };
  setTimeout(look, RUNNING_MS);
}
