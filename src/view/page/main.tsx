import { render } from "preact";
import type { JSX } from "preact";
import { ComparePage } from "./compare.tsx";
import { openDataSource, openSession } from "./data-source.ts";
import { Banner, Footer, Header, Help } from "./header.tsx";
import { listenToKeys } from "./keys.ts";
import { OperationsPage } from "./operations.tsx";
import { SandboxPage } from "./sandbox.tsx";
import { SandboxListPage } from "./sandbox-list.tsx";
import { changes, isConnected, setSource, store, url } from "./state.ts";

const PAGES = { sandboxes: SandboxListPage, sandbox: SandboxPage, operations: OperationsPage, compare: ComparePage };

function App(): JSX.Element {
  const Page = PAGES[url.value.page];
  return (
    <>
      <Header />
      <Banner />
      <main>
        <Page />
      </main>
      <Footer />
      <Help />
    </>
  );
}

await openSession();
const source = openDataSource();
setSource(source);
if (source.isLive) {
  source.follow(
    (sandbox) => changes.value = { sandbox, count: changes.value.count + 1 },
    (status) => store.value = status,
    (is) => isConnected.value = is,
  );
}
listenToKeys();
render(<App />, document.getElementById("app") as HTMLElement);
