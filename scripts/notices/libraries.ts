/** The licence texts in `texts/`, by the names of their files. */
export type Text =
  | "Apache-2.0"
  | "BSD-2-Clause"
  | "BSD-3-Clause"
  | "LGPL-2.0"
  | "LGPL-2.1"
  | "MIT"
  | "boringssl"
  | "icu"
  | "libarchive"
  | "libjpeg-turbo"
  | "libspng"
  | "tinycc"
  | "zlib";

/** Something that is linked into Bun's executable. */
export interface Library {
  readonly copyright: string;
  /** None if it is in the public domain. */
  readonly texts: readonly Text[];
}

/**
 * The libraries in Bun on Linux, by the names that Bun's own page of licences has for them; a test compares the two.
 * Where a library gives a choice, the first licence of these is taken.
 */
export const LIBRARIES: Readonly<Record<string, Library>> = {
  "boringssl": { copyright: "The OpenSSL Project, Google Inc. and others; see the text", texts: ["boringssl"] },
  "brotli": { copyright: "Copyright (c) 2009, 2010, 2013-2016 by the Brotli Authors", texts: ["MIT"] },
  "libarchive": { copyright: "Tim Kientzle and others; see the text", texts: ["libarchive"] },
  "lol-html": { copyright: "Copyright (C) 2019, Cloudflare, Inc.", texts: ["BSD-3-Clause"] },
  "ls-hpack": {
    copyright: "Copyright (c) 2018 - 2023 LiteSpeed Technologies Inc; xxHash: Copyright (c) 2012-2016, Yann Collet",
    texts: ["MIT", "BSD-2-Clause"],
  },
  "ls-qpack": { copyright: "Copyright (c) 2018 - 2023 LiteSpeed Technologies Inc", texts: ["MIT"] },
  "lsquic": {
    copyright: "Copyright (c) 2017 - 2024 LiteSpeed Technologies Inc; Copyright 2013 The Chromium Authors",
    texts: ["MIT", "BSD-3-Clause"],
  },
  "mimalloc": { copyright: "Copyright (c) 2018-2025 Microsoft Corporation, Daan Leijen", texts: ["MIT"] },
  "picohttp": {
    copyright:
      "Copyright (c) 2009-2014 Kazuho Oku, Tokuhiro Matsuno, Daisuke Murase, Shigeo Mitsunari (under the MIT licence)",
    texts: ["MIT"],
  },
  "zstd": {
    copyright: "Copyright (c) Meta Platforms, Inc. and affiliates (under the BSD licence)",
    texts: ["BSD-3-Clause"],
  },
  "simdutf": { copyright: "Copyright 2021 The simdutf authors", texts: ["Apache-2.0"] },
  "tinycc": { copyright: "Fabrice Bellard and others; see the text", texts: ["tinycc", "LGPL-2.1"] },
  "uSockets": { copyright: "Authored by Alex Hultman, 2018-2021", texts: ["Apache-2.0"] },
  "zlib-ng": { copyright: "Copyright (C) 1995-2024 Jean-loup Gailly and Mark Adler", texts: ["zlib"] },
  "c-ares": {
    copyright:
      "Copyright (c) 1998 Massachusetts Institute of Technology; Copyright (c) 2007-2024 Daniel Stenberg with " +
      "many contributors",
    texts: ["MIT"],
  },
  "libicu": { copyright: "Copyright (C) 1991-2025 Unicode, Inc.", texts: ["icu"] },
  "libbase64": {
    copyright: "Copyright (c) 2005-2007, Nick Galbreath; 2015-2018, Wojciech Muła; 2016-2017, Matthieu Darbois; " +
      "2013-2022, Alfred Klomp",
    texts: ["BSD-2-Clause"],
  },
  "libdeflate": { copyright: "Copyright 2016 Eric Biggers; Copyright 2024 Google LLC", texts: ["MIT"] },
  "libjpeg-turbo": {
    copyright: "D. R. Commander, the Independent JPEG Group and others; see the text",
    texts: ["libjpeg-turbo"],
  },
  "libspng": { copyright: "Randy and the PNG Reference Library Authors; see the text", texts: ["libspng"] },
  "libwebp": { copyright: "Copyright (c) 2010, Google Inc. All rights reserved.", texts: ["BSD-3-Clause"] },
  "highway": { copyright: "Copyright 2019 Google LLC", texts: ["Apache-2.0"] },
  "HdrHistogram_c": {
    copyright: "Copyright (c) 2012, 2013, 2014 Gil Tene, Michael Barker, Matt Warren (under the BSD licence)",
    texts: ["BSD-2-Clause"],
  },
  "sqlite": { copyright: "in the public domain, https://sqlite.org/copyright.html", texts: [] },
  "uWebsockets": { copyright: "Authored by Alex Hultman, 2018-2020", texts: ["Apache-2.0"] },
  "Tigerbeetle's IO code": { copyright: "Copyright TigerBeetle, Inc. and its contributors", texts: ["Apache-2.0"] },
};
