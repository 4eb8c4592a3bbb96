// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// What lets several copies of one library live in a process: an environment
// variable that only the real module sees, and a strtok that it does not share
// with others (SoftHSM 2.6 reads its configuration with strtok, so two copies
// that are initialised at the same time get each other's settings). Both are
// put where the linker keeps the addresses of the library's imports. Included
// by faultp11.c; ELF only.

static char *private_getenv(const char *name)
{
	return strcmp(name, ctl->variable) == 0 ? ctl->value : getenv(name);
}

static char *private_strtok(char *s, const char *delimiters)
{
	static _Thread_local char *rest;
	return strtok_r(s, delimiters, &rest);
}

#if defined(__linux__) && defined(__LP64__)

#include <elf.h>
#include <link.h>

// imports is what of a library's dynamic section is about its imports.
struct imports {
	uintptr_t base;
	const Elf64_Sym *symbols;
	const char *strings;
	const Elf64_Rela *rela[2];
	size_t size[2];
};

static struct imports imports_of(const struct link_map *map)
{
	struct imports im = {.base = map->l_addr};
	for (const Elf64_Dyn *d = map->l_ld; d->d_tag != DT_NULL; d++) {
		uintptr_t p = d->d_un.d_ptr;
		const void *at = (const void *)(p < im.base ? im.base + p : p); // libc may have added the base
		switch (d->d_tag) {
		case DT_SYMTAB:
			im.symbols = at;
			break;
		case DT_STRTAB:
			im.strings = at;
			break;
		case DT_JMPREL:
			im.rela[0] = at;
			break;
		case DT_PLTRELSZ:
			im.size[0] = d->d_un.d_val / sizeof(Elf64_Rela);
			break;
		case DT_RELA:
			im.rela[1] = at;
			break;
		case DT_RELASZ:
			im.size[1] = d->d_un.d_val / sizeof(Elf64_Rela);
			break;
		}
	}
	return im;
}

// redirect gives a library another function for one that it imports, and
// returns in how many places.
static int redirect(const struct imports *im, const char *name, void *function)
{
	int n = 0;
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	for (int t = 0; t < 2; t++)
		for (size_t i = 0; im->rela[t] && i < im->size[t]; i++) {
			const Elf64_Rela *r = &im->rela[t][i];
			const Elf64_Sym *s = &im->symbols[ELF64_R_SYM(r->r_info)];
			if (ELF64_R_SYM(r->r_info) == 0 || r->r_addend != 0 || strcmp(im->strings + s->st_name, name) != 0)
				continue;
			void **slot = (void **)(im->base + r->r_offset);
			if (mprotect((void *)((uintptr_t)slot & ~(page - 1)), page, PROT_READ | PROT_WRITE) != 0)
				return 0;
			*slot = function;
			n++;
		}
	return n;
}

// make_private reports whether the library now sees the control file's variable.
static int make_private(void *lib)
{
	struct link_map *map;
	if (!ctl->variable[0])
		return 1;
	if (dlinfo(lib, RTLD_DI_LINKMAP, &map) != 0)
		return 0;
	struct imports im = imports_of(map);
	redirect(&im, "strtok", (void *)private_strtok);
	return redirect(&im, "getenv", (void *)private_getenv) + redirect(&im, "secure_getenv", (void *)private_getenv) > 0;
}

#else

static int make_private(void *lib)
{
	(void)lib;
	(void)private_getenv;
	(void)private_strtok;
	return !ctl->variable[0];
}

#endif
